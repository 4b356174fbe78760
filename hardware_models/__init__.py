"""What a network costs on a device, without the device."""
