import os

# TensorFlow writes what the machine lacks, below Python. Models are small: one thread runs them
# faster than two that wait for each other, beside other processes of tests.
for name, value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}.items():
    os.environ.setdefault(name, value)
