"""What network cards and network backends share: headers, checksums, segmentation."""
