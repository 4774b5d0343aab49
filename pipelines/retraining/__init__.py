"""What CI calls when data change."""
