"""Storage: roots on this machine and in an object store, and what several processes share there."""
