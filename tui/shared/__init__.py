"""What several screens use: the base of screens, forms, dialogs, tables and text."""
