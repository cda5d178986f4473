"""What stands in Serve config files, files of Ray's cluster launcher and of KubeRay, looked at without a cluster."""
