"""Words everyone shares: units, errors, identities, safe file writing."""
