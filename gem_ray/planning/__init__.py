"""What a job needs of a cluster, reckoned: where its parts run, whether they fit, how long, how much, how dear."""
