"""Other objectives on the same encoder, data and loop: what UniWhisper is compared with, and no part of the product."""
