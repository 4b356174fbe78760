#!/bin/bash
# Run by release 0.1.0, in a folder with two_edges.yaml and tests/support/formula_device.py. Studies, databases and
# caches were kept, packed by gzip.
training="--data digits --training steps=4 --training image_size=32 --training max_train_images=64
 --training max_val_images=32 --training width=0.25 --workers 0"
scored="--space mnasnet --hw edgetpu --limit latency<=4ms --trials 24 --train 4"
nas search $scored $training --directory runs
nas search $scored $training --directory stopped  # killed by SIGKILL once its study held five trained networks
nas search --space two_edges.yaml --hw edgetpu --score none --trials 8 --train 10 --evaluations 2 --forget 0.3 \
  --in-flight 2 $training --study repeats --directory runs
nas search --space nasbench201 --hw edgetpu --score none --searcher halving:random --searching rungs=2 --trials 40 \
  --train 3 $training --training steps=6 --study halving --storage sqlite:///runs/halving.db --directory runs
python formula_device.py
