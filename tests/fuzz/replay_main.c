/*
 * Runs a fuzz target once over each file of its corpus, for builds without libFuzzer: what a fuzzer
 * found once stays found. Arguments: files or folders.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replayed;

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    uint8_t *data;
    size_t len;

    if (!file || fstat(fileno(file), &st) < 0) {
        perror(path);
        exit(1);
    }
    /* Exactly as much memory as there are bytes, so that a sanitizer sees one read too many. */
    data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    len = data ? fread(data, 1, (size_t)st.st_size, file) : 0;
    fclose(file);
    if (!data || len != (size_t)st.st_size) {
        fprintf(stderr, "%s: cannot be read wholly\n", path);
        exit(1);
    }
    (void)LLVMFuzzerTestOneInput(data, len);
    free(data);
    replayed++;
}

static void replay(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char inner[4096];

    if (!dir) {
        replay_file(path);
        return;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        replay_file(inner);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%d inputs replayed\n", replayed);
    return replayed ? 0 : 1;
}
