// The bits of a vector, on any target: vec and ivec are its own.
GQA_INLINE ivec vbits(vec x) { return (ivec)x; }
GQA_INLINE vec vfloat(ivec x) { return (vec)x; }
GQA_INLINE vec vand(vec x, ivec mask) { return (vec)(vbits(x) & mask); }
GQA_INLINE vec vselect(ivec mask, vec a, vec b) { return (vec)((vbits(a) & mask) | (vbits(b) & ~mask)); }
