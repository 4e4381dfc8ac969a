"""The program's commands, one file each; `table` lists them."""
