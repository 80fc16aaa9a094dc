import { describe, expect, it } from 'vitest'
import { type RunOutcome, SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import { amxMigrate, guest, MEMORY, Recorder } from './guests.ts'
import { testHost } from './hosts.ts'

const HLT = 0xf4
/** mov $value, %eax; mov $port, %dx; out %eax, %dx */
const outl = (port: number, value: number): number[] => [
  0xb8,
  value & 0xff,
  value >> 8,
  0,
  0,
  0x66,
  0xba,
  port & 0xff,
  port >> 8,
  0xef,
]

function run(code: readonly number[]): { outcome: RunOutcome; vmm: SmallVmm; seen: Recorder } {
  const seen = new Recorder()
  const vmm = SmallVmm.boot(testHost().newProcess(), guest(code), MEMORY, seen)
  return { outcome: vmm.run(), vmm, seen }
}
const because = (outcome: RunOutcome): string => (outcome.kind === 'stopped' ? outcome.because : outcome.kind)

/** What a guest printed at the end of a whole run of examples/amx-migrate on one host. */
const WHOLE_OUTPUT = [
  'started with Intel(R) Xeon(R) Processor',
  'XCR0=0x602e7 IA32_XFD=0x40000',
  'half-way: 8 tiles in use',
  'going on with Intel(R) Xeon(R) Processor',
  'XCR0=0x602e7 IA32_XFD=0x0',
  '#NM raised: 1, IA32_XFD_ERR=0x40000',
  'int8 64x64x256: 4096 of 4096 equal',
  'bf16 64x64x128: 4096 of 4096 equal',
  '',
].join('\n')

describe('the small VMM', () => {
  it('starts a guest with the registers of the contract', () => {
    const { vmm } = run([HLT])
    const regs = vmm.vcpu.getRegs()
    expect(regs).toMatchObject({ rip: 0x400001n, rflags: 2n, rdi: 0n, rax: 0n, r15: 0n })
    expect(regs.rsp % 16n).toBe(0n)
    expect(regs.rsp).toBeLessThan(0x100000n)
    const sregs = vmm.vcpu.getSregs()
    expect(sregs).toMatchObject({ cr0: 0x80010033n, cr4: 0x40620n, efer: 0xd01n, idt: { limit: 0 } })
    expect(sregs.cs).toMatchObject({ selector: 8, l: 1, db: 0, dpl: 0 })
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) expect(sregs[name]).toMatchObject({ selector: 0x10, type: 3 })
    expect(vmm.vcpu.getXcr0()).toBe(1n)
  })

  it('gives a guest its words: NUL-terminated at RDI', () => {
    const vmm = SmallVmm.boot(testHost().newProcess(), guest([HLT]), MEMORY, new Recorder(), 'ring3 xchg')
    vmm.run()
    const { rdi } = vmm.vcpu.getRegs()
    const { memory } = vmm.save()
    const at = Number(rdi)
    const run = memory[0].runs.find(({ firstPage, bytes }) => at >= firstPage * 4096 && at < firstPage * 4096 + bytes.length)!
    const from = at - run.firstPage * 4096
    expect(String.fromCharCode(...run.bytes.subarray(from, from + 11))).toBe('ring3 xchg\0')
  })

  it('ends with the low byte of what the guest writes to port 0x501', () => {
    expect(run(outl(0x501, 0x1234)).outcome).toEqual({ kind: 'exited', status: 0x34 })
  })

  it('prints bytes of port 0xe9, of string instructions too', () => {
    // lea text(%rip), %rsi; mov $3, %ecx; mov $0xe9, %dx; rep outsb; then exit
    const code = [
      0x48,
      0x8d,
      0x35,
      0x15,
      0,
      0,
      0,
      0xb9,
      3,
      0,
      0,
      0,
      0x66,
      0xba,
      0xe9,
      0,
      0xf3,
      0x6e,
      ...outl(0x501, 0),
      0x6f,
      0x75,
      0x74,
    ]
    const { outcome, seen } = run(code)
    expect(outcome).toEqual({ kind: 'exited', status: 0 })
    expect(seen.text).toBe('out')
  })

  it('tells checkpoints apart, and goes on after them', () => {
    const { outcome, vmm } = run([...outl(0x502, 7), ...outl(0x502, 8), ...outl(0x501, 0)])
    expect(outcome).toEqual({ kind: 'checkpoint', value: 7 })
    expect(vmm.run()).toEqual({ kind: 'checkpoint', value: 8 })
    expect(vmm.run()).toEqual({ kind: 'exited', status: 0 })
  })

  it('answers other ports with ones and ignores writes', () => {
    // mov $0x80, %dx; in %dx, %eax; out %eax, %dx; mov $0x501, %dx; out %eax, %dx
    expect(run([0x66, 0xba, 0x80, 0, 0xed, 0xef, 0x66, 0xba, 0x01, 0x05, 0xef]).outcome).toEqual({ kind: 'exited', status: 0xff })
  })

  it('says what happened to a guest that cannot go on', () => {
    expect(because(run([HLT]).outcome)).toMatch(/halted with interrupts off/)
    expect(because(run([0x0f, 0x0b]).outcome)).toMatch(/triple fault/)
    // mov 0x20000000, %eax with 32-bit address, beyond memory
    expect(because(run([0x67, 0xa1, 0, 0, 0, 0x20]).outcome)).toMatch(/read 4 bytes at 0x20000000, where it has no memory/)
  })

  it('keeps to its limits to the instruction', () => {
    const vmm = SmallVmm.boot(testHost().newProcess(), guest([0xeb, 0xfe]), MEMORY, new Recorder())
    for (const n of [1, 2, 999, 100_003]) {
      const before = vmm.retired
      expect(vmm.run({ maxInstructions: n })).toEqual({ kind: 'running' })
      expect(vmm.retired - before).toBe(n)
    }
    expect(vmm.run({ maxInstructions: 0 })).toEqual({ kind: 'running' })
  })

  it('comes back after so many exits', () => {
    // mov $0xe9, %dx; 1: out %al, %dx; jmp 1b
    const seen = new Recorder()
    const vmm = SmallVmm.boot(testHost().newProcess(), guest([0x66, 0xba, 0xe9, 0, 0xee, 0xeb, 0xfd]), MEMORY, seen)
    expect(vmm.run({ maxExits: 25 })).toEqual({ kind: 'running' })
    expect(seen.text.length).toBe(25)
  })
})

describe('examples/amx-migrate', () => {
  it('finishes on one host with every element right', () => {
    const seen = new Recorder()
    const vmm = SmallVmm.boot(testHost().newProcess(), amxMigrate, MEMORY, seen)
    expect(vmm.run().kind).toBe('checkpoint')
    expect(vmm.run()).toEqual({ kind: 'exited', status: 0 })
    expect(seen.text).toBe(WHOLE_OUTPUT)
  })

  it('says so on a processor without AMX', () => {
    const seen = new Recorder()
    const vmm = SmallVmm.boot(testHost({ cpu: 'Skylake-Server' }).newProcess(), amxMigrate, MEMORY, seen)
    expect(vmm.run()).toEqual({ kind: 'exited', status: 3 })
    expect(seen.text).toMatch(/this processor has no AMX/)
  })

  it('goes on on Granite Rapids in the middle of its AMX work', () => {
    const seen = new Recorder()
    const first = SmallVmm.boot(testHost().newProcess(), amxMigrate, MEMORY, seen)
    expect(first.run().kind).toBe('checkpoint')
    const state = first.save()
    first.close()
    const second = SmallVmm.restore(testHost({ cpu: 'GraniteRapids' }).newProcess(), state, seen)
    expect(second.run()).toEqual({ kind: 'exited', status: 0 })
    expect(seen.text).toBe(WHOLE_OUTPUT)
  })

  it('does not notice a migration to and fro every 60,000 instructions [KAPI-132]', () => {
    const seen = new Recorder()
    const hosts = ['SapphireRapids', 'GraniteRapids'].map((cpu) => testHost({ cpu }))
    let vmm = SmallVmm.boot(hosts[0].newProcess(), amxMigrate, MEMORY, seen)
    let outcome = vmm.run({ maxInstructions: 60_000 })
    let migrations = 0
    // The second half only checks results: 14 million instructions without state worth moving.
    while (outcome.kind === 'running' && migrations < 14) {
      const state = vmm.save()
      vmm.close()
      migrations++
      vmm = SmallVmm.restore(hosts[migrations % 2].newProcess(), state, seen)
      outcome = vmm.run({ maxInstructions: 60_000 })
      if (outcome.kind === 'checkpoint') outcome = { kind: 'running' }
    }
    expect(migrations).toBe(14)
    while (outcome.kind === 'running' || outcome.kind === 'checkpoint') outcome = vmm.run()
    expect(outcome).toEqual({ kind: 'exited', status: 0 })
    expect(seen.text).toBe(WHOLE_OUTPUT)
  })
})
