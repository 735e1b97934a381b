"""The node `paint`: a lidar's points in, the same with the labels of cameras out."""
