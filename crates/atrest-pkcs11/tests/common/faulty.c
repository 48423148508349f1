/* A PKCS#11 module that is another one, with faults. FAULTY_REAL is the other one. FAULTY_CONTROL is a file of lines
 * FUNCTION ANSWER, where FUNCTION may have a mechanism (C_WrapKey:2109) or a type of key (C_CreateObject:1f), and ANSWER
 * is a number in hexadecimal, or hang. FLAGS has flags that the token is said to have. With once after it, a line holds for one call. FAULTY_LOG gets a line for each call of C_Login. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char major, minor; } version;
typedef struct { version v; void *f[68]; } list;
typedef struct { ulong mechanism; void *parameter; ulong len; } mech;

typedef struct { ulong type; void *value; ulong len; } attribute;

static list *real, ours;

static ulong key_type(const attribute *template, ulong count)
{
    for (ulong i = 0; i < count; i++)
        if (template[i].type == 0x100) return *(ulong *)template[i].value;
    return 0;
}

static ulong fault(const char *function, ulong mechanism)
{
    char name[64], want[64], answer[64], often[64], line[256];
    snprintf(name, sizeof name, "%s:%lx", function, mechanism);
    if (!strcmp(function, "C_Login") && getenv("FAULTY_LOG")) {
        FILE *log = fopen(getenv("FAULTY_LOG"), "a");
        fputs("C_Login\n", log);
        fclose(log);
    }
    FILE *control = fopen(getenv("FAULTY_CONTROL"), "r");
    if (!control) return 0;
    ulong result = 0;
    while (fgets(line, sizeof line, control)) {
        *often = 0;
        if (sscanf(line, "%63s %63s %63s", want, answer, often) < 2) continue;
        if (strcmp(want, function) && strcmp(want, name)) continue;
        if (!strcmp(often, "once")) unlink(getenv("FAULTY_CONTROL"));
        if (!strcmp(answer, "hang")) for (;;) pause();
        result = strtoul(answer, 0, 16);
        break;
    }
    fclose(control);
    return result;
}

#define CALL(n, types, values) ((ulong (*) types)real->f[n]) values
#define FAULTY(n, name, types, values, mechanism)                                                                          \
    static ulong name types                                                                                               \
    {                                                                                                                     \
        ulong rv = fault(#name, mechanism);                                                                               \
        return rv ? rv : CALL(n, types, values);                                                                          \
    }
#define P void *
FAULTY(4, C_GetSlotList, (ulong a, P b, P c), (a, b, c), 0)
FAULTY(12, C_OpenSession, (ulong a, ulong b, P c, P d, P e), (a, b, c, d, e), 0)
FAULTY(18, C_Login, (ulong a, ulong b, P c, ulong d), (a, b, c, d), 0)
FAULTY(20, C_CreateObject, (ulong a, attribute *b, ulong c, P d), (a, b, c, d), key_type(b, c))
FAULTY(24, C_GetAttributeValue, (ulong a, ulong b, P c, ulong d), (a, b, c, d), 0)
FAULTY(26, C_FindObjectsInit, (ulong a, P b, ulong c), (a, b, c), 0)
FAULTY(29, C_EncryptInit, (ulong a, mech *b, ulong c), (a, b, c), b->mechanism)
FAULTY(33, C_DecryptInit, (ulong a, mech *b, ulong c), (a, b, c), b->mechanism)
FAULTY(34, C_Decrypt, (ulong a, P b, ulong c, P d, P e), (a, b, c, d, e), 0)
FAULTY(60, C_WrapKey, (ulong a, mech *b, ulong c, ulong d, P e, P f), (a, b, c, d, e, f), b->mechanism)
FAULTY(61, C_UnwrapKey, (ulong a, mech *b, ulong c, P d, ulong e, P f, ulong g, P h), (a, b, c, d, e, f, g, h), b->mechanism)

static ulong C_GetTokenInfo(ulong slot, unsigned char *info)
{
    ulong rv = fault("C_GetTokenInfo", 0);
    if (!rv) rv = CALL(6, (ulong, P), (slot, info));
    if (!rv) *(ulong *)(info + 96) |= fault("FLAGS", 0); /* after label, manufacturer, model and serial number */
    return rv;
}

ulong C_GetFunctionList(list **out)
{
    void *library = dlopen(getenv("FAULTY_REAL"), RTLD_NOW | RTLD_LOCAL);
    if (!library) return 5;
    ((ulong (*)(list **))dlsym(library, "C_GetFunctionList"))(&real);
    ours = *real;
    ours.f[4] = C_GetSlotList;
    ours.f[6] = C_GetTokenInfo;
    ours.f[12] = C_OpenSession;
    ours.f[18] = C_Login;
    ours.f[20] = C_CreateObject;
    ours.f[24] = C_GetAttributeValue;
    ours.f[26] = C_FindObjectsInit;
    ours.f[29] = C_EncryptInit;
    ours.f[33] = C_DecryptInit;
    ours.f[34] = C_Decrypt;
    ours.f[60] = C_WrapKey;
    ours.f[61] = C_UnwrapKey;
    *out = &ours;
    return 0;
}
