"""Documents and transcripts become conversations to train on: read, cut into passages, asked about,
checked, and kept with where each comes from."""
