"""Arc2Face as its authors published it: where its files lie, what lacks, and how they become a pipeline's parts."""
