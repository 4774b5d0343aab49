"""The command that CI calls when data change."""
