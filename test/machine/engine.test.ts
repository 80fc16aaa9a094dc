import { describe, expect, it } from 'vitest'
import { ENGINE_SWITCHES } from '../../src/machine/code-cache.ts'
import { CTL } from '../../src/machine/execution-context.ts'
import { HOST_EXIT_BUDGET, HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../src/machine/exits.ts'
import { BareHost } from './bare-host.ts'

// mov eax, 0 ; mov ecx, 1000000 ; L: add eax, ecx ; dec ecx ; jnz L ; syscall
const SUM_LOOP = [0xb8, 0, 0, 0, 0, 0xb9, 0x40, 0x42, 0x0f, 0, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa, 0x0f, 0x05]

describe('engine', () => {
  it('runs a loop to its system call with exact registers and instruction count', () => {
    const host = BareHost.withCode(SUM_LOOP)
    expect(host.run(10_000_000)).toBe(HOST_EXIT_SYSCALL)
    expect(host.ctx.reg(0)).toBe(BigInt((500000500000 % 2 ** 32) >>> 0))
    expect(host.machine.processors[0].retired).toBe(3_000_003)
    expect(host.ctx.rip).toBe(0x10012n)
    expect(host.ctx.reg(1)).toBe(0x10012n)
  })

  it('stops after exactly the budget, wherever it ends in a block', () => {
    for (const budget of [0, 1, 2, 3, 4, 5, 6, 7, 100, 50_000, 50_001, 123_457]) {
      const host = BareHost.withCode(SUM_LOOP)
      expect(host.run(budget)).toBe(HOST_EXIT_BUDGET)
      expect(host.machine.processors[0].retired).toBe(budget)
      const expected = [0x10000n, 0x10005n, 0x1000an, 0x1000cn, 0x1000en][budget]
      if (expected !== undefined) expect(host.ctx.rip).toBe(expected)
    }
  })

  it('a fault leaves the state of the instruction that raised it', () => {
    // mov eax, 5 ; add eax, 7 ; mov [0x50000], eax
    const host = BareHost.withCode([0xb8, 5, 0, 0, 0, 0x83, 0xc0, 7, 0x89, 0x04, 0x25, 0, 0, 5, 0])
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    const { fault } = host.machine.processors[0]
    expect(fault).toMatchObject({ vector: 14, errorCode: 6, addressLo: 0x50000 })
    expect(host.ctx.rip).toBe(0x10008n)
    expect(host.ctx.reg(0)).toBe(12n)
    expect(host.machine.processors[0].retired).toBe(2)
  })

  it('a write to a page with compiled code takes effect on the next instruction', () => {
    // mov byte [0x1000d+1], 9 ; (8 bytes) ... then "mov eax, 1" whose immediate was overwritten ; syscall
    const code = [0xc6, 0x04, 0x25, 0x0b, 0x00, 0x01, 0x00, 9, 0x90, 0x90, 0xb8, 1, 0, 0, 0, 0x0f, 0x05]
    const host = BareHost.withCode(code)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(host.ctx.reg(0)).toBe(9n)
  })

  it('loads and stores across a page boundary move all bytes', () => {
    // mov rax, 0x1122334455667788 ; mov [0x20ffd], rax ; mov rbx, [0x20ffd] ; syscall
    const code = [
      0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x48, 0x89, 0x04, 0x25, 0xfd, 0x0f, 0x02, 0, 0x48, 0x8b, 0x1c,
      0x25, 0xfd, 0x0f, 0x02, 0, 0x0f, 0x05,
    ]
    const host = BareHost.withCode(code)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(host.ctx.reg(3)).toBe(0x1122334455667788n)
    expect([...host.read(0x20ffd, 8)]).toEqual([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
  })

  it.each([{ regionLimit: 1 }, ...ENGINE_SWITCHES.map((name) => ({ [name]: false }))])(
    'gives the same result with %o',
    (engine) => {
      const code = SUM_LOOP.slice()
      code[6] = 0x10
      code[7] = 0x27 // 10000
      code[8] = 0
      const host = BareHost.withCode(code, { engine })
      expect(host.run()).toBe(HOST_EXIT_SYSCALL)
      expect(host.ctx.reg(0)).toBe(50005000n)
      expect(host.machine.processors[0].retired).toBe(30_003)
    },
  )

  it('a non-canonical address is #SS(0) through the stack segment and #GP(0) through another', () => {
    // mov rbp, 0x800000000000 ; mov eax, [rbp] (SS)   |   mov rbx, ... ; mov eax, [rbx] (DS)
    for (const [register, modrm, vector] of [
      [0xbd, [0x8b, 0x45, 0x00], 12],
      [0xbb, [0x8b, 0x03], 13],
    ] as const) {
      const host = BareHost.withCode([0x48, register, 0, 0, 0, 0, 0, 0x80, 0, 0, ...modrm])
      expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
      expect(host.machine.processors[0].fault).toMatchObject({ vector, errorCode: 0 })
      expect(host.ctx.rip).toBe(0x1000an)
    }
  })

  it('translations made under another PKRU, CR0.WP or CR3 are not used', () => {
    // mov eax, [0x20000] ; jmp back
    const host = BareHost.withCode([0x8b, 0x04, 0x25, 0, 0, 2, 0, 0xeb, 0xf7])
    expect(host.run(10)).toBe(HOST_EXIT_BUDGET)
    const cr4 = host.ctx.ctlLo(CTL.CR4)
    host.ctx.setCtl(CTL.CR4, cr4 | 0x400000, 0) // PKE
    const p = host.machine.processors[0]
    expect(host.run(10)).toBe(HOST_EXIT_BUDGET)
    p.setPkru(1) // key 0: no access
    expect(host.run(10)).toBe(HOST_EXIT_EXCEPTION)
    expect(p.fault).toMatchObject({ vector: 14, errorCode: 0x25, addressLo: 0x20000 })
    p.setPkru(0)
    host.ctx.setCtl(CTL.CR3, 0x200000, 0) // an empty table
    expect(host.run(10)).toBe(HOST_EXIT_EXCEPTION)
    expect(p.fault).toMatchObject({ vector: 14, errorCode: 0x14 })
  })

  it('with CR0.AM and RFLAGS.AC a misaligned doubleword at CPL 3 is #AC(0), an aligned one or a byte is not', () => {
    // mov eax, [0x20004] ; mov al, [0x20003] ; mov eax, [0x20002]
    const code = [0x8b, 0x04, 0x25, 4, 0, 2, 0, 0x8a, 0x04, 0x25, 3, 0, 2, 0, 0x8b, 0x04, 0x25, 2, 0, 2, 0]
    const host = BareHost.withCode(code)
    host.ctx.rflags = 0x40202
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 17, errorCode: 0 })
    expect(host.ctx.rip).toBe(0x1000en)
  })
})
