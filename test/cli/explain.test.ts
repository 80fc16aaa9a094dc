import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exec, Scratch, worldswitch } from './command.ts'
import { elf, load } from './elf.ts'

/** Programs and guests that die of what is refused to them: the command says why. */

let scratch: Scratch
beforeAll(() => {
  scratch = new Scratch()
})
afterAll(() => scratch.remove())

/** `code` at the entry, `data` at byte offset `at` from it. */
function program(name: string, code: readonly number[], data: { at: number; bytes: readonly number[] }[] = []): string {
  const bytes = new Array<number>(0x1000).fill(0)
  code.forEach((byte, i) => {
    bytes[i] = byte
  })
  for (const part of data)
    part.bytes.forEach((byte, i) => {
      bytes[part.at + i] = byte
    })
  const headers = [load({ p_filesz: 0x1000n, p_memsz: 0x1000n })]
  return scratch.write(name, elf({ code: bytes, headers }))
}

const le = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn))

/** lea 0x100(start), %rax; ldtilecfg (%rax); tilezero %tmm0 */
const TILEZERO = [0x48, 0x8d, 0x05, ...le(0x100 - 7, 4), 0xc4, 0xe2, 0x78, 0x49, 0x00, 0xc4, 0xe2, 0x7b, 0x49, 0xc0]
/** Palette 1; tile 0 has 64 bytes a row and 16 rows. */
const TILECFG = [1, ...new Array<number>(15).fill(0), 64, 0, ...new Array<number>(30).fill(0), 16]

/** rt_sigreturn to a frame at 0x200: lea 0x208(start), %rsp; mov $15, %eax; syscall */
const SIGRETURN = [0x48, 0x8d, 0x25, ...le(0x208 - 7, 4), 0xb8, 15, 0, 0, 0, 0x0f, 0x05]
const FPSTATE_POINTER = 0x200 + 8 + 40 + 184

describe('exec', () => {
  test('a tile instruction without permission: SIGILL, and the chain of gates [PERM-37]', async () => {
    const ran = await exec([], program('tiles', TILEZERO, [{ at: 0x100, bytes: TILECFG }]))
    expect(ran.status).toBe(128 + 4)
    expect(ran.stderr.split('\n')).toEqual([
      'worldswitch: tiles[1000] was killed by SIGILL: an instruction used XTILE_DATA, for which the process has no permission: ARCH_REQ_XCOMP_PERM was not called, or refused (PERM-37)',
      '    asked: component XTILE_DATA = 18',
      '    bits: 0x40000 (XTILE_DATA)',
      '    permission of the process: 0x20ee7 (FP SSE YMM OPMASK ZMM_Hi256 Hi16_ZMM PKRU PASID CET_U XTILE_CFG)',
      '    IA32_XFD: 0x40000 (XTILE_DATA)',
      '    ok   CPUID bit: AMX-TILE = 1',
      '    ok   CPUID bit: XFD = 1',
      '    ok   XCR0: XCR0 of the host = 0x602e7',
      '    trap XFD: IA32_XFD of the thread = 0x40000',
      '    NO   permission: permission of the process = 0x20ee7',
      expect.stringMatching(/^ {4}PERM-37: /),
      '',
    ])
  })

  test('the same with permission runs [PERM-20, PERM-38]', async () => {
    // mov $158, %eax; mov $0x1023, %edi; mov $18, %esi; syscall ... exit_group(0)
    const ask = [0xb8, 158, 0, 0, 0, 0xbf, 0x23, 0x10, 0, 0, 0xbe, 18, 0, 0, 0, 0x0f, 0x05]
    const exit = [0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]
    const code = [...ask, ...TILEZERO, ...exit]
    const ran = await exec([], program('permitted', code, [{ at: 0x100 + ask.length, bytes: TILECFG }]))
    expect(ran).toMatchObject({ status: 0, stderr: '' })
  })

  test('a signal frame whose state cannot be read: SIGSEGV [PERM-50, PERM-54]', async () => {
    const ran = await exec([], program('unreadable', SIGRETURN, [{ at: FPSTATE_POINTER, bytes: le(0x10, 8) }]))
    expect(ran.status).toBe(128 + 11)
    expect(ran.stderr).toMatch(/was killed by SIGSEGV: the extended state of the signal frame cannot be read \(PERM-50\)\n/)
  })

  test('a signal frame with a component that XCR0 does not have: which [PERM-52, PERM-54]', async () => {
    const image = 0x400
    const ran = await exec(
      [],
      program('foreign', SIGRETURN, [
        { at: FPSTATE_POINTER, bytes: le(0x400000 + image, 8) },
        { at: image + 464, bytes: [...le(0x46505853, 4), ...le(836, 4), ...le(7, 8), ...le(832, 8)] },
        { at: image + 512, bytes: le(0x105, 8) },
        { at: image + 832, bytes: le(0x46505845, 4) },
      ]),
    )
    expect(ran.status).toBe(128 + 11)
    expect(ran.stderr).toMatch(
      /#GP\(0\) while the signal frame was restored: XSTATE_BV has PT \(bit 8\), XCR0 has not \(PERM-52\)\n/,
    )
    expect(ran.stderr).toMatch(/NO {3}XCR0: XCR0 of the host = 0x602e7\n/)
  })

  test('an instruction that the CPU model does not have: its CPUID feature', async () => {
    const ran = await exec(['--cpu', 'Skylake-Server'], program('no-amx', TILEZERO))
    expect(ran.status).toBe(128 + 4)
    expect(ran.stderr).toMatch(
      /was killed by SIGILL: Ldtilecfg \[[0-9a-f]+\] needs AMX_TILE, which this CPU model does not have/i,
    )
    expect(ran.stderr).toMatch(/NO {3}CPUID bit: AMX_TILE = 0/)
  })

  // arch_prctl(ARCH_REQ_XCOMP_PERM, 17); exit_group(0)
  const REFUSED = [
    0xb8, 158, 0, 0, 0, 0xbf, 0x23, 0x10, 0, 0, 0xbe, 17, 0, 0, 0, 0x0f, 0x05, 0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05,
  ]

  test('--explain: a line for a refused call, and the chain below it [PERM-17]', async () => {
    const ran = await exec(['--explain'], program('refused', REFUSED))
    expect(ran.status).toBe(0)
    expect(ran.stderr.split('\n').slice(0, 3)).toEqual([
      '[1000] refused: arch_prctl(ARCH_REQ_XCOMP_PERM, 0x11) = -1 EOPNOTSUPP: component 17 is not one that needs permission (PERM-17)',
      '    asked: component XTILE_CFG = 17',
      '    bits: 0x20000 (XTILE_CFG)',
    ])
    expect(ran.stderr).toContain('    NO   dynamic component: components that need permission = 0x40000\n')
  })

  test('--trace --trace-format json: the object [PERM-17]', async () => {
    const ran = await exec(['--trace', '--trace-format', 'json'], program('refused-json', REFUSED))
    const events = ran.stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events.find(({ event }) => event === 'refusal')).toMatchObject({
      tid: 1000,
      vcpu: null,
      result: -95,
      reason: { outcome: 'EOPNOTSUPP', rule: 'PERM-17', asked: { kind: 'component', name: 'XTILE_CFG', value: '0x11' } },
    })
  })
})

describe('run', () => {
  /** wrmsr of IA32_XFD = XTILE_CFG: #GP(0) without an IDT. */
  const WRMSR = [0xb9, ...le(0x1c4, 4), 0xb8, ...le(0x20000, 4), 0x31, 0xd2, 0x0f, 0x30]
  const guest = (name: string): string =>
    scratch.write(name, elf({ code: WRMSR, e_entry: 0x100000n, headers: [load({ p_vaddr: 0x100000n })] }))

  test('a guest that dies of a #GP(0): the end report says what was refused [GFPU-26]', async () => {
    const ran = await worldswitch(['run', guest('xfd.elf')])
    expect(ran.status).toBe(125)
    expect(ran.stderr).toMatch(/^worldswitch: the guest took a triple fault\n/)
    expect(ran.stderr).toMatch(
      /\nworldswitch: the last thing refused to the guest: #GP\(0\): MSR_IA32_XFD = 0x20000 has XTILE_CFG \(bit 17\), which XFD cannot withhold \(GFPU-26\)\n/,
    )
    expect(ran.stderr).toMatch(/NO {3}dynamic component: components that XFD can withhold = 0x40000\n/)
  })

  test('--explain: when it happens, with the vCPU [GFPU-26]', async () => {
    const ran = await worldswitch(['run', '--explain', guest('xfd-explained.elf')])
    expect(ran.stderr).toMatch(
      /^refused: guest, vcpu 0 = #GP\(0\): MSR_IA32_XFD = 0x20000 has XTILE_CFG \(bit 17\).*\(GFPU-26\)\n {4}asked: MSR MSR_IA32_XFD = 0x20000\n/m,
    )
  })
})
