#include "agent/hosts.h"

#include "common/addr.h"
#include "common/file.h"
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>

#define HOSTS_FILE "/etc/hosts"
#define FILE_MAX   (64 * 1024 * 1024) /* lists of names to be kept away from are long */

struct agent_hosts {
    char *path;
    uint64_t stamp; /* of the file that was read; 0: look again */
    struct sp_hash *names;
};

struct agent_hosts *agent_hosts_new(const char *path)
{
    struct agent_hosts *hosts = sp_calloc(1, sizeof *hosts);

    hosts->path = sp_strdup(path ? path : HOSTS_FILE);
    hosts->names = sp_hash_new();
    return hosts;
}

void agent_hosts_free(struct agent_hosts *hosts)
{
    if (!hosts)
        return;
    sp_hash_free(hosts->names);
    free(hosts->path);
    free(hosts);
}

/* "192.0.2.7 db.example db # comment": an address, then its names. */
static void read_line(struct agent_hosts *hosts, char *line)
{
    static char is_there;
    char folded[SP_HOST_MAX + 1];
    char *rest = line, *word;
    bool is_first = true;

    line[strcspn(line, "#")] = '\0';
    while ((word = strsep(&rest, " \t\r\v\f")) != NULL) {
        if (!*word)
            continue;
        if (!is_first && sp_host_fold(word, strlen(word), folded))
            sp_hash_put(hosts->names, folded, strlen(folded), &is_there);
        is_first = false;
    }
}

void agent_hosts_refresh(struct agent_hosts *hosts)
{
    uint64_t stamp = sp_file_stamp(hosts->path);
    struct sp_file file = {.data = NULL};
    char *rest, *line;

    if (stamp && stamp == hosts->stamp)
        return;
    hosts->stamp = stamp;
    sp_hash_free(hosts->names);
    hosts->names = sp_hash_new();
    if (sp_file_read(hosts->path, FILE_MAX, &file, NULL) != SP_OK)
        return;
    rest = (char *)file.data;
    while ((line = strsep(&rest, "\n")) != NULL)
        read_line(hosts, line);
    sp_file_done(&file);
}

bool agent_hosts_has(const struct agent_hosts *hosts, const char *name)
{
    return sp_hash_get(hosts->names, name, strlen(name)) != NULL;
}
