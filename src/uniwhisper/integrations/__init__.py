"""The encoder inside other packages: one small file per package, which nobody loads who does not use that package."""
