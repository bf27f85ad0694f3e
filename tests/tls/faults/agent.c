/* The agent of fault injection: it stands between web._core and every function of OpenSSL that this module imports.

   fault_attach() loads the extension, walks its relocations, and points each slot that holds a function of libssl or
   libcrypto to a trampoline of ours. So the list of functions is the binary's, the binary is the one that is shipped,
   and calls of others (Python's ssl) are left alone. A trampoline saves all registers that can hold arguments, asks
   enter() what to do, and jumps to the real function with the stack as it was; the return address is exchanged for
   that of fault_after, where leave() sees what came back. So one trampoline serves every signature. Callbacks that are
   registered with OpenSSL are exchanged for trampolines, too (rules say which arguments are callbacks).

   Armed faults make the nth call fail: they return a value without calling anything, with an error in the queue, errno,
   or what SSL_get_error is to say. Counts are atomic, armed faults are set while nothing runs beside.

   x86-64 and aarch64, ELF, glibc or musl. Tests only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define EXPORT __attribute__((visibility("default")))
#define KEPT __attribute__((used, visibility("hidden")))

enum { FUNCTIONS = 384, SHIMS = 128, RULES = 64, TYPES = 32, ARMS = 4, DEPTH = 64, SITES = 4096 };

typedef struct {
    const char *name;
    void *real;
    long calls, ones; /* how often it was called, and how often it answered 1 */
    int makes, frees, frees_arg, no_call_after_failure;
} Function;

typedef struct {
    int function, argument, command, is_bio; /* command: what argument 1 must be, or -1 */
    long calls;
} Rule;

typedef struct {
    int rule;
    void *real;
} Shim;

typedef struct {
    int what; /* a function, or FUNCTIONS + a rule; -1: not armed */
    long nth; /* 0: every call */
    long value;
    int queue_error, number, forced, fatal, retry;
    int after; /* OpenSSL is called all the same, and only then does the call fail */
    long hits;
} Arm;

static Function functions[FUNCTIONS];
static Rule rules[RULES];
static Shim shims[SHIMS];
static Arm arms[ARMS];
static long live[TYPES];
static void *last_made[TYPES];
static uintptr_t sites[SITES], base;
static int function_count, rule_count, shim_count, site_count;
static int forced_error;         /* what SSL_get_error says next; 0: the truth */
static void *failed_object;      /* the SSL on which a fatal failure was forced */
static const char *late_call;    /* what was called on it all the same */
static int get_error_function = -1, sendfile_function = -1;

typedef struct {
    uintptr_t back;
    int function;
    void *freed;
    Arm *late;
    void *object;
} Frame;

static __thread Frame frames[DEPTH];
static __thread int depth;

extern char fault_trampolines[] __attribute__((visibility("hidden")));
extern char fault_after[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)
enum { ARGUMENTS = 6, RESULT = 6, SAVED_RESULT = 1, TRAMPOLINE = 16 };
#define SLOT_TYPES(t) ((t) == R_X86_64_JUMP_SLOT || (t) == R_X86_64_GLOB_DAT || (t) == R_X86_64_64)
__asm__(".text\n.balign 16\n.globl fault_trampolines\n.hidden fault_trampolines\nfault_trampolines:\n.set n, 0\n"
        ".rept 512\n.balign 16\nendbr64\npushq $n\njmp fault_common\n.set n, n + 1\n.endr\n"
        "fault_common:\n"
        "pushq %rbp\nmovq %rsp, %rbp\nsubq $200, %rsp\n"
        "movq %rdi, 0(%rsp)\nmovq %rsi, 8(%rsp)\nmovq %rdx, 16(%rsp)\nmovq %rcx, 24(%rsp)\n"
        "movq %r8, 32(%rsp)\nmovq %r9, 40(%rsp)\nmovq %rax, 48(%rsp)\nmovq %r10, 56(%rsp)\n"
        "movups %xmm0, 64(%rsp)\nmovups %xmm1, 80(%rsp)\nmovups %xmm2, 96(%rsp)\nmovups %xmm3, 112(%rsp)\n"
        "movups %xmm4, 128(%rsp)\nmovups %xmm5, 144(%rsp)\nmovups %xmm6, 160(%rsp)\nmovups %xmm7, 176(%rsp)\n"
        "movq 8(%rbp), %rdi\nmovq %rsp, %rsi\nleaq 16(%rbp), %rdx\ncall fault_enter\nmovq %rax, %r11\n"
        "movq 0(%rsp), %rdi\nmovq 8(%rsp), %rsi\nmovq 16(%rsp), %rdx\nmovq 24(%rsp), %rcx\n"
        "movq 32(%rsp), %r8\nmovq 40(%rsp), %r9\nmovq 48(%rsp), %rax\nmovq 56(%rsp), %r10\n"
        "movups 64(%rsp), %xmm0\nmovups 80(%rsp), %xmm1\nmovups 96(%rsp), %xmm2\nmovups 112(%rsp), %xmm3\n"
        "movups 128(%rsp), %xmm4\nmovups 144(%rsp), %xmm5\nmovups 160(%rsp), %xmm6\nmovups 176(%rsp), %xmm7\n"
        "leave\naddq $8, %rsp\ntestq %r11, %r11\njz 1f\njmp *%r11\n1: ret\n"
        ".globl fault_after\n.hidden fault_after\nfault_after:\n"
        "pushq %rax\npushq %rdx\nmovq %rsp, %rdi\ncall fault_leave\nmovq %rax, %r11\npopq %rdx\npopq %rax\njmp *%r11\n");
#elif defined(__aarch64__)
enum { ARGUMENTS = 8, RESULT = 0, SAVED_RESULT = 0, TRAMPOLINE = 16 };
#define SLOT_TYPES(t) ((t) == R_AARCH64_JUMP_SLOT || (t) == R_AARCH64_GLOB_DAT || (t) == R_AARCH64_ABS64)
__asm__(".text\n.balign 16\n.globl fault_trampolines\n.hidden fault_trampolines\nfault_trampolines:\n.set n, 0\n"
        ".rept 512\n.balign 16\nhint #34\nmov x16, #n\nb fault_common\n.set n, n + 1\n.endr\n"
        "fault_common:\n"
        "stp x29, x30, [sp, #-16]!\nmov x29, sp\nsub sp, sp, #208\n"
        "stp x0, x1, [sp, #0]\nstp x2, x3, [sp, #16]\nstp x4, x5, [sp, #32]\nstp x6, x7, [sp, #48]\nstr x8, [sp, #64]\n"
        "stp q0, q1, [sp, #80]\nstp q2, q3, [sp, #112]\nstp q4, q5, [sp, #144]\nstp q6, q7, [sp, #176]\n"
        "mov x0, x16\nmov x1, sp\nadd x2, x29, #8\nbl fault_enter\nmov x16, x0\n"
        "ldp x0, x1, [sp, #0]\nldp x2, x3, [sp, #16]\nldp x4, x5, [sp, #32]\nldp x6, x7, [sp, #48]\nldr x8, [sp, #64]\n"
        "ldp q0, q1, [sp, #80]\nldp q2, q3, [sp, #112]\nldp q4, q5, [sp, #144]\nldp q6, q7, [sp, #176]\n"
        "mov sp, x29\nldp x29, x30, [sp], #16\ncbz x16, 1f\nbr x16\n1: ret\n"
        ".globl fault_after\n.hidden fault_after\nfault_after:\n"
        "stp x0, x1, [sp, #-16]!\nmov x0, sp\nbl fault_leave\nmov x16, x0\nldp x0, x1, [sp], #16\nbr x16\n");
#else
#error "trampolines are there for x86-64 and aarch64 only"
#endif

/* ---- what happens at a call ---- */

static void note_site(uintptr_t back) {
    for (int i = 0; i < site_count; i++)
        if (sites[i] == back)
            return;
    if (site_count < SITES)
        sites[site_count++] = back;
}

static Arm *armed_for(int what, long nth) {
    for (int i = 0; i < ARMS; i++)
        if (arms[i].what == what && (arms[i].nth == 0 || arms[i].nth == nth))
            return &arms[i];
    return NULL;
}

/* SSL_sendfile needs a kernel that does TLS. This one does what that does, so that its callers are reached everywhere. */
static ssize_t send_file(SSL *ssl, int file, off_t offset, size_t count, int flags) {
    char chunk[16384];
    ssize_t n = pread(file, chunk, count < sizeof chunk ? count : sizeof chunk, offset);
    (void)flags;
    return n <= 0 ? n : SSL_write(ssl, chunk, (int)n);
}

/* What comes of a failure; the caller returns arm->value. */
static void fail_now(Arm *arm, void *object, int is_bio) {
    arm->hits++;
    if (is_bio) {
        BIO_clear_retry_flags((BIO *)object);
        if (arm->retry)
            BIO_set_flags((BIO *)object, arm->retry | BIO_FLAGS_SHOULD_RETRY);
    }
    if (arm->queue_error)
        ERR_raise_data(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR, "injected");
    forced_error = arm->forced;
    if (arm->fatal)
        failed_object = object;
    errno = arm->number;
}

static void *shim_of(int rule, void *real) {
    for (int i = 0; i < shim_count; i++)
        if (shims[i].rule == rule && shims[i].real == real)
            return fault_trampolines + (FUNCTIONS + i) * TRAMPOLINE;
    if (shim_count == SHIMS)
        return real;
    shims[shim_count] = (Shim){rule, real};
    return fault_trampolines + (FUNCTIONS + shim_count++) * TRAMPOLINE;
}

static void *enter_callback(Shim *shim, uint64_t *args) {
    Rule *rule = &rules[shim->rule];
    long nth = __atomic_add_fetch(&rule->calls, 1, __ATOMIC_SEQ_CST);
    Arm *arm = armed_for(FUNCTIONS + shim->rule, nth);
    if (arm == NULL)
        return shim->real;
    fail_now(arm, (void *)args[0], rule->is_bio);
    args[RESULT] = (uint64_t)arm->value;
    return NULL;
}

/* args: as the caller's registers; back: where its return address lies. NULL: return args[RESULT]. */
KEPT void *fault_enter(long index, uint64_t *args, uintptr_t *back) {
    int number = errno;
    if (index >= FUNCTIONS) {
        void *to = enter_callback(&shims[index - FUNCTIONS], args);
        if (to != NULL)
            errno = number;
        return to;
    }
    Function *f = &functions[index];
    long nth = __atomic_add_fetch(&f->calls, 1, __ATOMIC_SEQ_CST);
    note_site(*back);
    if (failed_object != NULL && f->no_call_after_failure && (void *)args[0] == failed_object && late_call == NULL)
        late_call = f->name;
    Arm *arm = armed_for((int)index, nth);
    if (arm != NULL && !arm->after) {
        fail_now(arm, (void *)args[0], 0);
        args[RESULT] = (uint64_t)arm->value;
        return NULL;
    }
    if (index == get_error_function && forced_error != 0) {
        args[RESULT] = (uint64_t)forced_error;
        forced_error = 0;
        errno = number;
        return NULL;
    }
    for (int i = 0; i < rule_count; i++) {
        Rule *rule = &rules[i];
        if (rule->function == index && (rule->command == -1 || (int)args[1] == rule->command) &&
            args[rule->argument] != 0)
            args[rule->argument] = (uint64_t)(uintptr_t)shim_of(i, (void *)args[rule->argument]);
    }
    if (depth < DEPTH) {
        frames[depth++] = (Frame){*back, (int)index, f->frees ? (void *)args[f->frees_arg] : NULL, arm, (void *)args[0]};
        *back = (uintptr_t)fault_after;
    }
    errno = number;
    return index == sendfile_function ? (void *)send_file : f->real;
}

KEPT uintptr_t fault_leave(uint64_t *saved) {
    Frame frame = frames[--depth];
    Function *f = &functions[frame.function];
    if (frame.late != NULL) {
        ERR_clear_error();
        fail_now(frame.late, frame.object, 0);
        saved[SAVED_RESULT] = (uint64_t)frame.late->value;
    }
    if ((int)saved[SAVED_RESULT] == 1)
        __atomic_add_fetch(&f->ones, 1, __ATOMIC_SEQ_CST);
    if (f->makes && saved[SAVED_RESULT] != 0) {
        __atomic_add_fetch(&live[f->makes], 1, __ATOMIC_SEQ_CST);
        last_made[f->makes] = (void *)saved[SAVED_RESULT];
    }
    if (frame.freed != NULL) {
        __atomic_sub_fetch(&live[f->frees], 1, __ATOMIC_SEQ_CST);
        if (last_made[f->frees] == frame.freed)
            last_made[f->frees] = NULL;
    }
    return frame.back;
}

/* ---- attaching ---- */

static int is_openssl(void *address) {
    Dl_info info;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL)
        return 0;
    const char *name = strrchr(info.dli_fname, '/');
    name = name ? name + 1 : info.dli_fname;
    return strncmp(name, "libssl", 6) == 0 || strncmp(name, "libcrypto", 9) == 0;
}

static int function_of(const char *name, void *real) {
    for (int i = 0; i < function_count; i++)
        if (strcmp(functions[i].name, name) == 0)
            return i;
    if (function_count == FUNCTIONS)
        return -1;
    functions[function_count].name = name;
    functions[function_count].real = real;
    if (strcmp(name, "SSL_get_error") == 0)
        get_error_function = function_count;
    return function_count++;
}

static int exchange(struct link_map *map, const ElfW(Rela) * at, size_t bytes, const ElfW(Sym) * symbols,
                    const char *strings) {
    long page = sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < bytes / sizeof *at; i++) {
        const ElfW(Sym) *symbol = &symbols[ELF64_R_SYM(at[i].r_info)];
        void **slot = (void **)(map->l_addr + at[i].r_offset);
        if (!SLOT_TYPES(ELF64_R_TYPE(at[i].r_info)) || symbol->st_shndx != SHN_UNDEF || !is_openssl(*slot))
            continue;
        int index = function_of(strings + symbol->st_name, *slot);
        if (index < 0 || mprotect((void *)((uintptr_t)slot & -(uintptr_t)page), (size_t)page, PROT_READ | PROT_WRITE))
            return -1;
        *slot = fault_trampolines + index * TRAMPOLINE;
    }
    return 0;
}

/* Loads the extension and takes its functions over: how many; -1: it cannot be done. */
EXPORT int fault_attach(const char *path) {
    struct link_map *map = NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const ElfW(Rela) *rela = NULL, *jumps = NULL;
    size_t rela_bytes = 0, jump_bytes = 0;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    for (int i = 0; i < ARMS; i++)
        arms[i].what = -1;
    if (handle == NULL || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
        return -1;
    base = map->l_addr;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        uintptr_t value = entry->d_un.d_ptr;
        uintptr_t address = value < map->l_addr ? value + map->l_addr : value; /* musl leaves it relative */
        switch (entry->d_tag) {
        case DT_SYMTAB: symbols = (const ElfW(Sym) *)address; break;
        case DT_STRTAB: strings = (const char *)address; break;
        case DT_RELA: rela = (const ElfW(Rela) *)address; break;
        case DT_RELASZ: rela_bytes = value; break;
        case DT_JMPREL: jumps = (const ElfW(Rela) *)address; break;
        case DT_PLTRELSZ: jump_bytes = value; break;
        default: break;
        }
    }
    if (symbols == NULL || strings == NULL || exchange(map, rela, rela_bytes, symbols, strings) != 0 ||
        exchange(map, jumps, jump_bytes, symbols, strings) != 0)
        return -1;
    return function_count;
}

EXPORT const char *fault_name(int index) { return functions[index].name; }

/* type numbers are from 1; 0: none */
EXPORT void fault_describe(int index, int makes, int frees, int frees_arg, int no_call_after_failure) {
    functions[index].makes = makes;
    functions[index].frees = frees;
    functions[index].frees_arg = frees_arg;
    functions[index].no_call_after_failure = no_call_after_failure;
}

EXPORT int fault_rule(int function, int argument, int command, int is_bio) {
    if (rule_count == RULES || argument >= ARGUMENTS)
        return -1;
    rules[rule_count] = (Rule){function, argument, command, is_bio, 0};
    return rule_count++;
}

EXPORT void fault_stand_in_sendfile(int index) { sendfile_function = index; }

/* ---- a run ---- */

EXPORT void fault_reset(void) {
    for (int i = 0; i < function_count; i++)
        functions[i].calls = functions[i].ones = 0;
    for (int i = 0; i < rule_count; i++)
        rules[i].calls = 0;
    memset(arms, 0, sizeof arms);
    for (int i = 0; i < ARMS; i++)
        arms[i].what = -1;
    forced_error = 0;
    failed_object = NULL;
    late_call = NULL;
}

EXPORT void fault_arm(int slot, int is_callback, int index, long nth, long value, int queue_error, int number,
                      int forced, int fatal, int retry, int after) {
    arms[slot] =
        (Arm){(is_callback ? FUNCTIONS : 0) + index, nth, value, queue_error, number, forced, fatal, retry, after, 0};
}

EXPORT void fault_disarm(void) {
    for (int i = 0; i < ARMS; i++)
        arms[i].what = -1;
}

EXPORT long fault_hits(int slot) { return arms[slot].hits; }
EXPORT long fault_calls(int is_callback, int index) {
    return is_callback ? rules[index].calls : functions[index].calls;
}
EXPORT long fault_ones(int index) { return functions[index].ones; }
EXPORT long fault_live(int type) { return live[type]; }
/* From where calls came, as offsets in the extension: the ith, or 0 behind the last. */
EXPORT long fault_site(int i) { return i < site_count ? (long)(sites[i] - base) : 0; }
EXPORT const char *fault_late_call(void) { return late_call; }
EXPORT unsigned long fault_queued(void) { return ERR_peek_error(); }
EXPORT void fault_clear_queue(void) { ERR_clear_error(); }

/* What the newest SSL_CTX allows, in words: two contexts of the same policy say the same. */
EXPORT int fault_policy(int type, char *out, size_t size) {
    SSL_CTX *ctx = last_made[type];
    if (ctx == NULL)
        return 0;
    int n = snprintf(out, size, "options %llx mode %lx versions %lx-%lx level %d cache %ld tickets %zu early %u verify %d"
                     " key %d suites", (unsigned long long)SSL_CTX_get_options(ctx),
                     (long)SSL_CTX_get_mode(ctx), (long)SSL_CTX_get_min_proto_version(ctx),
                     (long)SSL_CTX_get_max_proto_version(ctx), SSL_CTX_get_security_level(ctx),
                     (long)SSL_CTX_get_session_cache_mode(ctx), SSL_CTX_get_num_tickets(ctx),
                     (unsigned)SSL_CTX_get_max_early_data(ctx), SSL_CTX_get_verify_mode(ctx),
                     SSL_CTX_check_private_key(ctx));
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers) && n > 0 && (size_t)n < size; i++)
        n += snprintf(out + n, size - (size_t)n, " %s", SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i)));
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    if (n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, " chain %d", chain ? sk_X509_num(chain) : 0);
    ERR_clear_error();
    return 1;
}
