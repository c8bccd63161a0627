"""Who somebody is: the identity encoder, distilled from a published one."""
