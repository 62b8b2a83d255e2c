"""What a tuned model recites of its training data: answers that it completes word for word."""
