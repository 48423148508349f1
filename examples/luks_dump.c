// What a header of LUKS1 or LUKS2 says, in the layout of `cryptsetup luksDump`, and which credentials could open the
// volume. Nothing of it is proven: whoever can write to the disk can write it.
//
//     cc luks_dump.c -latrest -o luks_dump && ./luks_dump DEVICE [--header FILE]
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

// A text of the header without what a terminal would obey.
static void show(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != 0; at++) {
        if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) {
            putchar('?');
            at++;
        } else {
            putchar(at[0] < 0x20 || at[0] == 0x7f ? '?' : at[0]);
        }
    }
}

static void show_line(const char *label, const char *text)
{
    fputs(label, stdout);
    show(text);
    putchar('\n');
}

// Bytes in lines of `width`, each but the first after `indent`.
static void show_hex(const char *label, const uint8_t *bytes, size_t len, size_t width, const char *indent)
{
    fputs(label, stdout);
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && i % width == 0)
            printf("\n%s", indent);
        printf("%02x ", bytes[i]);
    }
    putchar('\n');
}

// A name after others, of which `user` counts those that there were.
static atrest_status show_name(void *user, const char *name)
{
    if ((*(unsigned *)user)++ > 0)
        putchar(' ');
    show(name);
    return ATREST_OK;
}

static atrest_status count_name(void *user, const char *name)
{
    (void)name;
    ++*(unsigned *)user;
    return ATREST_OK;
}

static unsigned requirements(const atrest_header *header)
{
    unsigned count = 0;
    check(atrest_header_requirements(header, count_name, &count), "asking for requirements");
    return count;
}

static void show_requirements(const char *label, const atrest_header *header)
{
    unsigned count = 0;
    fputs(label, stdout);
    check(atrest_header_requirements(header, show_name, &count), "asking for requirements");
    putchar('\n');
}

static unsigned long long number(const atrest_header *header,
                                 atrest_status (*ask)(const atrest_header *header, uint64_t *out))
{
    uint64_t out;
    check(ask(header, &out), "asking for a number");
    return out;
}

static atrest_status luks1_segment(void *user, const atrest_segment_info *segment)
{
    const char *mode = strchr(segment->cipher, '-');
    printf("Version:       \t1\nCipher name:   \t%.*s\n", (int)strcspn(segment->cipher, "-"), segment->cipher);
    show_line("Cipher mode:   \t", mode != NULL ? mode + 1 : "");
    *(uint64_t *)user = segment->offset;
    return ATREST_OK;
}

static atrest_status luks1_digest(void *user, const atrest_digest_info *digest)
{
    show_line("Hash spec:     \t", digest->hash);
    printf("Payload offset:\t%llu\n", (unsigned long long)(*(uint64_t *)user / 512));
    printf("MK bits:       \t%u\n", (unsigned)digest->key_bits);
    show_hex("MK digest:     \t", digest->digest, digest->digest_len, 64, "");
    show_hex("MK salt:       \t", digest->salt, digest->salt_len, 16, "               \t");
    printf("MK iterations: \t%u\n", (unsigned)digest->iterations);
    return ATREST_OK;
}

// `user` is the number of the next keyslot: those that are not used are not listed.
static atrest_status luks1_keyslot(void *user, const atrest_keyslot_info *keyslot)
{
    unsigned *next = (unsigned *)user;
    for (; *next < keyslot->id; ++*next)
        printf("Key Slot %u: DISABLED\n", *next);
    printf("Key Slot %u: ENABLED\n", *next);
    printf("\tIterations:         \t%u\n", (unsigned)keyslot->iterations);
    show_hex("\tSalt:               \t", keyslot->salt, keyslot->salt_len, 16, "\t                      \t");
    printf("\tKey material offset:\t%llu\n", (unsigned long long)(keyslot->area_offset / 512));
    printf("\tAF stripes:            \t%u\n", (unsigned)keyslot->af_stripes);
    ++*next;
    return ATREST_OK;
}

static void luks1(const atrest_header *header, const char *uuid)
{
    uint64_t payload = 0;
    unsigned next = 0;
    check(atrest_header_segments(header, luks1_segment, &payload), "asking for segments");
    check(atrest_header_digests(header, luks1_digest, &payload), "asking for digests");
    show_line("UUID:          \t", uuid);
    putchar('\n');
    check(atrest_header_keyslots(header, luks1_keyslot, &next), "asking for keyslots");
    for (; next < 8; next++)
        printf("Key Slot %u: DISABLED\n", next);
}

static atrest_status luks2_segment(void *user, const atrest_segment_info *segment)
{
    unsigned count = 0;
    (void)user;
    printf("  %u: ", (unsigned)segment->id);
    show_line("", segment->kind);
    printf("\toffset: %llu [bytes]\n", (unsigned long long)segment->offset);
    if (segment->size != 0)
        printf("\tlength: %llu [bytes]\n", (unsigned long long)segment->size);
    else
        printf("\tlength: (whole device)\n");
    if (segment->sector_size != 0) {
        show_line("\tcipher: ", segment->cipher);
        printf("\tsector: %u [bytes]\n", (unsigned)segment->sector_size);
    }
    if (*segment->flags != 0) {
        printf("\tflags : ");
        for (const char *flag = segment->flags; *flag != 0; flag += strlen(flag) + 1)
            show_name(&count, flag);
        putchar('\n');
    }
    putchar('\n');
    return ATREST_OK;
}

static atrest_status luks2_keyslot(void *user, const atrest_keyslot_info *keyslot)
{
    static const char *const priorities[] = {"normal", "preferred", "ignored"};
    (void)user;
    printf("  %u: ", (unsigned)keyslot->id);
    show(keyslot->kind);
    printf("%s\n\tKey:        %u bits\n", keyslot->holds_data_key ? "" : " (unbound)", (unsigned)keyslot->key_bits);
    printf("\tPriority:   %s\n", priorities[keyslot->priority % 3]);
    if (*keyslot->kdf != 0) {
        show_line("\tCipher:     ", keyslot->cipher);
        printf("\tCipher key: %u bits\n", (unsigned)keyslot->area_key_bits);
        show_line("\tPBKDF:      ", keyslot->kdf);
        if (strcmp(keyslot->kdf, "pbkdf2") == 0) {
            show_line("\tHash:       ", keyslot->hash);
            printf("\tIterations: %u\n", (unsigned)keyslot->iterations);
        } else {
            printf("\tTime cost:  %u\n\tMemory:     %u\n", (unsigned)keyslot->passes, (unsigned)keyslot->memory_kib);
            printf("\tThreads:    %u\n", (unsigned)keyslot->lanes);
        }
        show_hex("\tSalt:       ", keyslot->salt, keyslot->salt_len, 16, "\t            ");
        printf("\tAF stripes: %u\n", (unsigned)keyslot->af_stripes);
        show_line("\tAF hash:    ", keyslot->af_hash);
    }
    printf("\tArea offset:%llu [bytes]\n", (unsigned long long)keyslot->area_offset);
    printf("\tArea length:%llu [bytes]\n", (unsigned long long)keyslot->area_size);
    for (uint32_t i = 0; i < keyslot->digests_count; i++)
        printf("\tDigest ID:  %u\n", (unsigned)keyslot->digests[i]);
    return ATREST_OK;
}

static atrest_status luks2_token(void *user, const atrest_token_info *token)
{
    (void)user;
    printf("  %u: ", (unsigned)token->id);
    show_line("", token->kind);
    for (uint32_t i = 0; i < token->keyslots_count; i++)
        printf("\tKeyslot:    %u\n", (unsigned)token->keyslots[i]);
    return ATREST_OK;
}

static atrest_status luks2_digest(void *user, const atrest_digest_info *digest)
{
    (void)user;
    if (*digest->kind == 0)
        return ATREST_OK;
    printf("  %u: ", (unsigned)digest->id);
    show_line("", digest->kind);
    show_line("\tHash:       ", digest->hash);
    printf("\tIterations: %u\n", (unsigned)digest->iterations);
    show_hex("\tSalt:       ", digest->salt, digest->salt_len, 16, "\t            ");
    show_hex("\tDigest:     ", digest->digest, digest->digest_len, 16, "\t            ");
    return ATREST_OK;
}

static void luks2(const atrest_header *header, const char *uuid)
{
    char label[64], subsystem[64];
    unsigned flags = 0;
    check(atrest_header_label(header, label, sizeof label, NULL), "asking for the label");
    check(atrest_header_subsystem(header, subsystem, sizeof subsystem, NULL), "asking for the second label");
    printf("LUKS header information\nVersion:       \t2\n");
    printf("Epoch:         \t%llu\n", number(header, atrest_header_epoch));
    printf("Metadata area: \t%llu [bytes]\n", number(header, atrest_header_metadata_size));
    printf("Keyslots area: \t%llu [bytes]\n", number(header, atrest_header_keyslots_size));
    show_line("UUID:          \t", uuid);
    show_line("Label:         \t", *label != 0 ? label : "(no label)");
    show_line("Subsystem:     \t", *subsystem != 0 ? subsystem : "(no subsystem)");
    printf("Flags:       \t");
    check(atrest_header_flags(header, show_name, &flags), "asking for flags");
    printf("%s\n", flags == 0 ? "(no flags)" : "");
    if (requirements(header) > 0)
        show_requirements("Requirements:\t", header);

    printf("\nData segments:\n");
    check(atrest_header_segments(header, luks2_segment, NULL), "asking for segments");
    printf("Keyslots:\n");
    check(atrest_header_keyslots(header, luks2_keyslot, NULL), "asking for keyslots");
    printf("Tokens:\n");
    check(atrest_header_tokens(header, luks2_token, NULL), "asking for tokens");
    printf("Digests:\n");
    check(atrest_header_digests(header, luks2_digest, NULL), "asking for digests");
}

static const char *plural(uint32_t count, const char *ending)
{
    return count == 1 ? "" : ending;
}

static atrest_status keyslot_opens(void *user, const atrest_keyslot_info *keyslot)
{
    static const char *const when[] = {"", ", tried first", ", if it is named"};
    unsigned iterations = (unsigned)keyslot->iterations, passes = (unsigned)keyslot->passes;
    unsigned lanes = (unsigned)keyslot->lanes, memory = (unsigned)keyslot->memory_kib;
    int mib = memory % 1024 == 0;
    (void)user;
    printf("  keyslot %u: ", (unsigned)keyslot->id);
    if (*keyslot->kdf == 0) {
        show(keyslot->kind);
        printf(", nothing that opens it\n");
        return ATREST_OK;
    }
    if (!keyslot->holds_data_key) {
        printf("another key than the data's\n");
        return ATREST_OK;
    }
    printf("a passphrase or key file (");
    if (strcmp(keyslot->kdf, "pbkdf2") == 0) {
        printf("pbkdf2 with ");
        show(keyslot->hash);
        printf(", %u iteration%s", iterations, plural(iterations, "s"));
    } else {
        printf("%s, %u %s, ", keyslot->kdf, mib ? memory / 1024 : memory, mib ? "MiB" : "KiB");
        printf("%u pass%s, %u lane%s", passes, plural(passes, "es"), lanes, plural(lanes, "s"));
    }
    printf(")%s\n", when[keyslot->priority % 3]);
    return ATREST_OK;
}

static atrest_status token_opens(void *user, const atrest_token_info *token)
{
    (void)user;
    printf("  token %u: ", (unsigned)token->id);
    if (token->key_url != NULL) {
        show_line("a vault with the key ", token->key_url);
        return ATREST_OK;
    }
    if (strcmp(token->kind, "atrest") == 0) {
        printf("atrest, but it is not sound\n");
        return ATREST_OK;
    }
    show(token->kind);
    printf(", through %s", token->keyslots_count == 0 ? "no keyslot" : "");
    for (uint32_t i = 0; i < token->keyslots_count; i++)
        printf("%skeyslot %u", i > 0 ? " or " : "", (unsigned)token->keyslots[i]);
    printf(": another program\n");
    return ATREST_OK;
}

// What `cryptsetup` doesn't say: who could open the volume, and what keeps everybody from it.
static void ways_in(const atrest_header *header)
{
    uint32_t needs_repair;
    printf("\nWays in:\n");
    check(atrest_header_keyslots(header, keyslot_opens, NULL), "asking for keyslots");
    check(atrest_header_tokens(header, token_opens, NULL), "asking for tokens");
    printf("  the data key itself, for anyone who has it\n");
    if (requirements(header) > 0)
        show_requirements("But it requires what atrest does not do: ", header);
    check(atrest_header_needs_repair(header, &needs_repair), "asking for damage");
    if (needs_repair)
        printf("It is to be repaired, which opening it for writing does.\n");
}

int main(int argc, char **argv)
{
    if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--header") == 0)) {
        fprintf(stderr, "usage: luks_dump DEVICE [--header FILE]\n");
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0) {
        puts("usage: luks_dump DEVICE [--header FILE]");
        return 0;
    }
    const char *path = argv[argc - 1];
    atrest_device *device;
    atrest_header *header;
    uint32_t version;
    char uuid[64];
    check(atrest_device_open_file(path, ATREST_DEVICE_READ_ONLY, &device), "opening the device");
    check(atrest_header_load(device, &header), "reading the header");
    atrest_device_free(device);
    check(atrest_header_format(header, &version), "asking for the version");
    check(atrest_header_uuid(header, uuid, sizeof uuid, NULL), "asking for the UUID");
    if (version == ATREST_LUKS1) {
        show_line("LUKS header information for ", path);
        putchar('\n');
        luks1(header, uuid);
    } else {
        luks2(header, uuid);
    }
    ways_in(header);
    atrest_header_free(header);
    return 0;
}
