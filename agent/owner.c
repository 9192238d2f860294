#include "agent/owner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 2048

struct agent_owner {
    int fd;
    uint32_t seq;
};

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

static bool send_question(struct agent_owner *owner, const struct sp_addr *from,
                          const struct sp_addr *to)
{
    struct question question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++owner->seq},
        .body = {.sdiag_family = from->ip.family == 6 ? AF_INET6 : AF_INET,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = UINT32_MAX,
                 .id = {.idiag_sport = htons(from->port),
                        .idiag_dport = htons(to->port),
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };

    memcpy(question.body.id.idiag_src, from->ip.bytes, sizeof from->ip.bytes);
    memcpy(question.body.id.idiag_dst, to->ip.bytes, sizeof to->ip.bytes);
    return send(owner->fd, &question, sizeof question, MSG_NOSIGNAL) == (ssize_t)sizeof question;
}

static bool same_ip(const __be32 *found, const struct sp_addr *addr)
{
    return memcmp(found, addr->ip.bytes, addr->ip.family == 6 ? 16 : 4) == 0;
}

/*
 * A socket without an inode belongs to no process any more (or not yet); the kernel then gives 0
 * as its user, which is not root's. And where there is no such connection it looks for one who
 * listens at that address: the port of a client that has gone may be another's by now.
 */
static bool is_wanted(const struct inet_diag_msg *found, const struct sp_addr *from,
                      const struct sp_addr *to)
{
    if (!found->idiag_inode || found->id.idiag_sport != htons(from->port))
        return false;
    if (!to->port)
        return found->idiag_state == TCP_LISTEN;
    if (found->idiag_state == TCP_LISTEN || found->id.idiag_dport != htons(to->port))
        return false;
    /* A socket of IPv6 shows its addresses in that form. */
    return found->idiag_family != (from->ip.family == 6 ? AF_INET6 : AF_INET) ||
           (same_ip(found->id.idiag_src, from) && same_ip(found->id.idiag_dst, to));
}

/* The kernel has answered when send returns, so nothing is waited for here. */
static uint32_t read_answer(struct agent_owner *owner, const struct sp_addr *from,
                            const struct sp_addr *to)
{
    union {
        struct nlmsghdr head;
        char bytes[ANSWER_MAX];
    } answer;
    struct inet_diag_msg found;

    for (;;) {
        ssize_t len = recv(owner->fd, &answer, sizeof answer, MSG_DONTWAIT);

        if (len < 0 && errno == EINTR)
            continue;
        if (len < (ssize_t)sizeof answer.head)
            return AGENT_NO_UID;
        if (answer.head.nlmsg_seq != owner->seq) /* of a question that nobody waited for */
            continue;
        if (answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
            len < (ssize_t)NLMSG_LENGTH(sizeof found))
            return AGENT_NO_UID;
        memcpy(&found, NLMSG_DATA(&answer.head), sizeof found);
        return is_wanted(&found, from, to) ? found.idiag_uid : AGENT_NO_UID;
    }
}

uint32_t agent_owner_of_tcp(struct agent_owner *owner, const struct sp_addr *from,
                            const struct sp_addr *to)
{
    /* An IPv4 connection is asked for as one, also when a socket of IPv6 has made it: the kernel
     * finds both kinds by the addresses on the wire. */
    struct sp_addr near = {sp_ip_unmap(&from->ip), from->port};
    struct sp_addr far = {sp_ip_unmap(&to->ip), to->port};

    return send_question(owner, &near, &far) ? read_answer(owner, &near, &far) : AGENT_NO_UID;
}

uint32_t agent_owner_of_unix(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof cred)
        return AGENT_NO_UID;
    return cred.uid;
}

bool agent_owner_find(const char *text, uint32_t *ret_uid)
{
    char room[16384];
    struct passwd entry, *found = NULL;
    unsigned long long number;

    if (strspn(text, "0123456789") == strlen(text)) {
        number = strtoull(text, NULL, 10);
        *ret_uid = (uint32_t)number;
        return text[0] && strlen(text) <= 10 && number < AGENT_NO_UID;
    }
    if (getpwnam_r(text, &entry, room, sizeof room, &found) != 0 || !found)
        return false;
    *ret_uid = entry.pw_uid;
    return true;
}

enum sp_err agent_owner_new(const struct sp_addr *listening, struct agent_owner **ret_owner,
                            struct sp_error *err)
{
    struct agent_owner *owner = sp_calloc(1, sizeof *owner);
    struct sp_addr nowhere = {.ip.family = listening->ip.family};

    owner->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (owner->fd < 0) {
        free(owner);
        return sp_error_sys(err, errno, "cannot ask the kernel who owns a connection");
    }
    if (agent_owner_of_tcp(owner, listening, &nowhere) != geteuid()) {
        agent_owner_free(owner);
        return sp_error_set(err, SP_ERR_SYS,
                            "the kernel does not tell who owns a connection (is the module "
                            "tcp_diag missing?), so rules for users cannot be kept");
    }
    *ret_owner = owner;
    return SP_OK;
}

void agent_owner_free(struct agent_owner *owner)
{
    if (!owner)
        return;
    close(owner->fd);
    free(owner);
}
