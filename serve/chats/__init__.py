"""The chats of a home: what was asked and answered, written as it streams into `chats.db`, found
again, exported."""
