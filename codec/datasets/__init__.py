"""Images from folders, archives and array files."""
