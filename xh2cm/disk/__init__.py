"""Files and folders on disk, and the places where they belong."""
