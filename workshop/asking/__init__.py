"""Asking an endpoint a great many questions, for hours if need be: what a rescue and the making of
conversations do alike."""
