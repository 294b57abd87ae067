"""The whole path on sounds this package synthesises, or on the user's own folder."""
