# From the 32-bit protected mode in which a multiboot loader leaves the CPU to 64-bit mode with AVX-512 enabled.

.section .multiboot, "a"
.align 8
.long 0x1BADB002, 3, -(0x1BADB002 + 3)  # magic, flags, checksum

.section .bss
.align 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
.align 64
stack: .skip 1048576
stack_top:

.section .text
.code32
.globl _start
_start:
    cli
    mov $stack_top, %esp

    # The first GiB is mapped to itself, in pages of 2 MiB.
    mov $pdpt, %eax
    or $3, %eax
    mov %eax, pml4
    mov $pd, %eax
    or $3, %eax
    mov %eax, pdpt
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shl $21, %eax
    or $0x83, %eax
    mov %eax, pd(, %ecx, 8)
    inc %ecx
    cmp $512, %ecx
    jne 1b
    mov $pml4, %eax
    mov %eax, %cr3

    # CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
    mov %cr4, %eax
    or $((1 << 5) | (1 << 9) | (1 << 10) | (1 << 18)), %eax
    mov %eax, %cr4
    # EFER: long mode
    mov $0xC0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    # CR0: paging, and an FPU that is not emulated
    mov %cr0, %eax
    and $~(1 << 2), %eax
    or $((1 << 31) | (1 << 1)), %eax
    mov %eax, %cr0
    lgdt gdtr
    ljmp $8, $long_mode

.align 8
gdt: .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdtr: .word 23
    .long gdt

.code64
long_mode:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    # XCR0: x87, SSE, AVX, and the three parts of AVX-512
    xor %ecx, %ecx
    xor %edx, %edx
    mov $0xE7, %eax
    xsetbv
    mov $stack_top, %rsp
    call rust_main

# Bochs ends when it reads this word at this port.
.globl shutdown
shutdown:
    mov $0x8900, %dx
    lea word(%rip), %rsi
2:  lodsb
    test %al, %al
    jz 3f
    out %al, %dx
    jmp 2b
3:  hlt
    jmp 3b
word: .asciz "Shutdown"
