"""A chat with rooms, people and announcements: the whole library in one small app."""
