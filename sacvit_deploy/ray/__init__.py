"""Ray: both stages as steps of a Ray Data pipeline, and as deployments of Ray Serve, each scaled apart."""
