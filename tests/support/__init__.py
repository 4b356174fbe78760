"""What tests share: fakes, oracles, random inputs."""
