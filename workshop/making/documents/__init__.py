"""Documents of many kinds as cleaned paragraphs. Only the job's process imports what is in here."""
