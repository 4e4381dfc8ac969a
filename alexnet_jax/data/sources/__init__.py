"""What people have, one file a form, as a list of encoded images that any process can read.

Archives are untrusted. Nothing is unpacked: their members are read where they lie, into memory, up to a
stated size; links are not followed. A .tar or .zip is indexed once and read at offsets by many processes. A
compressed .tar cannot be read at offsets: `Source.stream` goes through it.
"""
