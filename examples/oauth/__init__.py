"""Sockets behind OAuth 2 access tokens (JWT): verified, renewed in band, expired and revoked."""
