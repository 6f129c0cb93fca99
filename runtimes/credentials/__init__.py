"""Certificates and keys of a federation: made, renewed, registered with a SuperLink, revoked."""
