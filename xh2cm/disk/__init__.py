"""Put files and folders on disk, and find the places they belong to."""
