/*
 * spelling: what somebody may have meant by a word that is not known.
 *
 *     sp_spelling_init(&s, "levle");
 *     for (each known word) sp_spelling_offer(&s, known);
 *     s.nearest == "level", s.known == "level, format, file"
 *
 * Pure functions, thread-safe.
 */
#ifndef SALLYPORT_COMMON_SPELLING_H
#define SALLYPORT_COMMON_SPELLING_H

struct sp_spelling {
    const char *word;    /* borrowed */
    const char *nearest; /* borrowed from the offers: at most two mistakes away; NULL: none */
    unsigned distance;
    char known[256]; /* all offers, comma-separated; "..." at the end when there are too many */
};

void sp_spelling_init(struct sp_spelling *s, const char *word);
void sp_spelling_offer(struct sp_spelling *s, const char *known);
/* How many letters must be put in, taken out, changed or swapped with their neighbour to make one
 * word the other; words of more than 64 letters are too far from everything. */
unsigned sp_spelling_distance(const char *a, const char *b);
#endif
