"""Where sources lie, folders, archives and URLs, and the cache of downloads."""
