# dm-crypt's ciphers after its documentation, on other implementations: OpenSSL through `cryptography`, and libgcrypt for the block
# ciphers and the lengths of keys that it lacks. HCTR2 is after its paper.
import ctypes, hashlib, json, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

def gcrypt(name, mode, key, iv, data, encrypts):
    lib, handle, out = ctypes.CDLL('libgcrypt.so.20'), ctypes.c_void_p(), ctypes.create_string_buffer(len(data))
    lib.gcry_check_version(None)
    bits = 8 * len(key) // (2 if mode == 'xts' else 1)
    named = {'twofish256': 'twofish'}.get(f'{name}{bits}', f'{name}{bits}')
    number, size = lib.gcry_cipher_map_name(named.upper().encode()), ctypes.c_size_t
    assert number and lib.gcry_cipher_open(ctypes.byref(handle), number, {'cbc': 3, 'xts': 13}[mode], 0) == 0
    assert lib.gcry_cipher_setkey(handle, key, size(len(key))) == 0
    assert lib.gcry_cipher_setiv(handle, iv, size(16)) == 0
    work = lib.gcry_cipher_encrypt if encrypts else lib.gcry_cipher_decrypt
    assert work(handle, out, size(len(data)), data, size(len(data))) == 0
    lib.gcry_cipher_close(handle)
    return out.raw

def crypt(name, mode, key, iv, data, encrypts=True):
    if name != 'aes' or mode == 'xts' and len(key) == 48:
        return gcrypt(name, mode, key, iv, data, encrypts)
    chosen = {'xts': modes.XTS, 'cbc': modes.CBC, 'ecb': lambda iv: modes.ECB()}[mode]
    cipher = Cipher(algorithms.AES(key), chosen(iv))
    work = cipher.encryptor() if encrypts else cipher.decryptor()
    return work.update(data) + work.finalize()

def le(data):
    return int.from_bytes(data, 'little')

# x * y / x^128 in the field of POLYVAL (RFC 8452, 3), bit by bit.
def dot(x, y):
    product = 0
    for bit in range(128):
        if y >> bit & 1:
            product ^= x << bit
    for bit in range(128):
        if product >> bit & 1:
            product ^= (1 | 1 << 121 | 1 << 126 | 1 << 127 | 1 << 128) << bit
    return product >> 128

def hctr2(key, tweak, data):
    block = lambda data: Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)
    h, mask = le(block(bytes(16))), le(block((1).to_bytes(16, 'little')))
    def hash(rest):
        sum, text = 0, (2 * 8 * len(tweak) + 2).to_bytes(16, 'little') + tweak + rest
        for i in range(0, len(text), 16):
            sum = dot(sum ^ le(text[i:i + 16]), h)
        return sum
    first, rest = le(data[:16]), data[16:]
    mm = first ^ hash(rest)
    uu = le(block(mm.to_bytes(16, 'little')))
    seed = mm ^ uu ^ mask
    stream = b''.join(block((seed ^ i).to_bytes(16, 'little')) for i in range(1, len(rest) // 16 + 1))
    rest = bytes(a ^ b for a, b in zip(rest, stream))
    return (uu ^ hash(rest)).to_bytes(16, 'little') + rest

def sector(name, mode, iv_name, key, number, data, encrypts):
    if mode == 'hctr2':
        assert encrypts
        return hctr2(key, number.to_bytes(32, 'little'), data)
    if iv_name == 'plain':
        number &= 0xffffffff
    iv = number.to_bytes(16, 'little')
    if iv_name == 'plain64be':
        iv = number.to_bytes(16, 'big')
    if iv_name == 'benbi':
        iv = ((number * 32 + 1) % 2 ** 64).to_bytes(16, 'big')
    if iv_name == 'upper':
        iv = bytes(8) + number.to_bytes(8, 'little')
    if iv_name.startswith('essiv:'):
        # One block, by CBC under an IV of zeros.
        iv = crypt(name, 'cbc', hashlib.new(iv_name[6:], key).digest(), bytes(16), iv)
    return crypt(name, mode, key, iv, data, encrypts)

# Sectors of `size` bytes whose numbers begin at `first`, in units of 512 bytes, or as `,iv_large_sectors` says.
def sectors(spec, key, first, size, data, encrypts=True):
    name, mode, iv_name = (spec + '-').split('-', 2)
    iv_name, _, large = iv_name.rstrip('-').partition(',')
    unit, starts = size if large else 512, range(0, len(data), size)
    numbered = [((first * 512 + at) // unit, data[at:at + size]) for at in starts]
    return b''.join(sector(name, mode, iv_name, key, number, part, encrypts) for number, part in numbered)
