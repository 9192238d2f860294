#include "common/spelling.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 64
#define TOO_FAR  1000U

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Damerau's distance with one row of the table at a time (and the two before it). */
unsigned sp_spelling_distance(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    unsigned rows[3][WORD_MAX + 1] = {{0}};

    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return TOO_FAR;
    for (unsigned j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *now = rows[i % 3];
        const unsigned *last = rows[(i + 2) % 3];
        const unsigned *before = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

void sp_spelling_init(struct sp_spelling *s, const char *word)
{
    *s = (struct sp_spelling){.word = word, .distance = TOO_FAR};
}

void sp_spelling_offer(struct sp_spelling *s, const char *known)
{
    static const char more[] = ", ...";
    unsigned distance = sp_spelling_distance(s->word, known);
    size_t used = strlen(s->known);
    size_t room = sizeof s->known - used;

    /* Of a word of two letters, two changes leave nothing. */
    if (distance <= 2 && distance < strlen(known) && distance < s->distance) {
        s->distance = distance;
        s->nearest = known;
    }
    if (strlen(known) + sizeof ", " + sizeof more <= room)
        snprintf(s->known + used, room, "%s%s", used ? ", " : "", known);
    else if (used < sizeof more || strcmp(s->known + used - sizeof more + 1, more) != 0)
        snprintf(s->known + used, room, "%s", more);
}
