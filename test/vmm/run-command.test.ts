import type { ChildProcess } from 'node:child_process'
import { afterAll, describe, expect, it } from 'vitest'
import { type Ran, Scratch, worldswitch } from '../cli/command.ts'
import { guestBytes } from './guests.ts'

const scratch = new Scratch()
afterAll(() => scratch.remove())

const EXAMPLE = 'examples/amx-migrate/amx-migrate.elf'
const LOOP = [0xff, 0xc3, 0xeb, 0xfc]
/** mov $0xe9, %dx; 1: out %al, %dx; jmp 1b */
const PRINTS = [0x66, 0xba, 0xe9, 0, 0xee, 0xeb, 0xfd]
const guestFile = (name: string, code: readonly number[]): string => scratch.write(name, guestBytes(code))
const run = (...args: string[]): Promise<Ran> => worldswitch(['run', ...args])

function expectOneLine(ran: Ran, status: number, words: RegExp): void {
  expect(ran.stderr).toMatch(/^worldswitch: [^\n]+\n$/)
  expect(ran.stderr).toMatch(words)
  expect(ran.stderr).not.toMatch(/internal error/)
  expect(ran).toMatchObject({ status, stdout: '' })
}

describe('worldswitch run', () => {
  it('gives the guest its words, and says why the host ended it', async () => {
    const splitLock = 'examples/split-lock/split-lock.elf'
    const row = await run(splitLock, 'ring3', 'check', 'xchg', '--boot', 'split_lock_detect=fatal')
    expect(row).toMatchObject({ status: 0, stderr: '' })
    expect(row.stdout).toMatch(/^own detection .*outcome\nnone +3 +on +xchg +#AC\n$/)
    const killed = await run(splitLock, '--boot', 'split_lock_detect=fatal')
    expect(killed.status).toBe(125)
    expect(killed.stderr).toMatch(
      /^worldswitch: KVM_RUN ended with exception 17, and the VMM got SIGBUS: a split lock of the guest/,
    )
    expectOneLine(await run(splitLock, 'x'.repeat(4096)), 2, /too many words for the guest .* 4096 bytes.* 4095/)
  })

  it('migrates the example in the middle of its AMX work, and traces what happened in order', async () => {
    const ran = await run(
      EXAMPLE,
      '--cpu',
      'SapphireRapids',
      '--migrate-to',
      'GraniteRapids',
      '--trace',
      '--trace-format',
      'json',
    )
    expect(ran.status).toBe(0)
    expect(ran.stdout).toMatch(/int8 64x64x256: 4096 of 4096 equal\nbf16 64x64x128: 4096 of 4096 equal\n$/)
    const events = ran.stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const refusals = events.filter((e) => e.event === 'refusal')
    const elsewhere = ['kvm_ioctl', 'kvm_msr', 'refusal']
    const story = events.filter((e) => !elsewhere.includes(e.event)).map((e) => `${e.host[0]} ${e.event}`)
    const setUp = (host: string) =>
      ['permission_request', 'kvm_create_vm', 'kvm_create_vcpu', 'guest_fpstate_grown'].map((name) => `${host} ${name}`)
    expect(story).toEqual([
      ...setUp('S'),
      'S vmm_cpuid',
      'S vmm_boot',
      'S kvm_xcr0_write',
      'S kvm_xfd_write',
      'S kvm_nm',
      'S vmm_guest_exit',
      'S vmm_save',
      ...setUp('G'),
      'G kvm_xfd_write',
      'G kvm_xcr0_write',
      'G vmm_restore',
      'G vmm_guest_exit',
    ])
    expect(refusals).toMatchObject([
      { host: 'SapphireRapids', vcpu: 0, call: null, reason: { outcome: '#NM', rule: 'GFPU-30' } },
      // MSR_KVM_ASYNC_PF_INT does not take even 0 without an in-kernel LAPIC.
      { host: 'GraniteRapids', result: 25, reason: { outcome: 'short count', rule: 'KAPI-72' } },
    ])
    expect(events.find((e) => e.event === 'kvm_nm')).toMatchObject({ xfd: '0x40000' })
    expect(events.find((e) => e.event === 'guest_fpstate_grown')).toMatchObject({ uabiSize: 11008 })
    expect(events.find((e) => e.event === 'vmm_save')).toMatchObject({ xstate_bv: '0x60202' })
  })

  it('saves to a file and goes on from it', async () => {
    const file = scratch.at('half-way')
    const saved = await run(EXAMPLE, '--save', file)
    expect(saved.status).toBe(0)
    expect(saved.stdout).toMatch(/half-way: 8 tiles in use\n$/)
    expectOneLine({ ...saved, stdout: '' }, 0, /saved after 7\d{5} instructions: .*half-way/)
    const restored = await run('--restore', file, '--cpu', 'GraniteRapids')
    expect(restored).toMatchObject({ status: 0, stderr: '' })
    expect(restored.stdout).toMatch(/^going on with /)
    const refused = await run('--restore', file, '--cpu', 'Skylake-Server')
    expectOneLine(refused, 125, /components 17, 18\) are in use: XSTATE_BV = 0x60202.*XSAVE-17/)
  })

  it('does not migrate to a processor without AMX, and says why', async () => {
    const ran = await run(EXAMPLE, '--migrate-to', 'Skylake-Server', '--explain')
    expect(ran.status).toBe(125)
    expect(ran.stderr).toMatch(/^worldswitch: cannot restore the guest on modelled Skylake-Server, linux-6\.12: .*XSAVE-17/m)
    expect(ran.stderr).toMatch(/\n {2}the guest's CPUID has what this host has not: .*avx512/)
  })

  it("has the guest's status, and its own for guests that cannot go on", async () => {
    const out = [0x66, 0xba, 0x01, 0x05, 0xef]
    expect(await run(guestFile('status', [0xb8, 77, 0, 0, 0, ...out]))).toMatchObject({ status: 77, stdout: '', stderr: '' })
    const halted = await run(guestFile('hlt', [0xf4]))
    expect(halted.status).toBe(125)
    expect(halted.stderr).toMatch(/^worldswitch: the guest halted .*\n {2}vcpu 0: rip 0000000000400001 /)
    expect((await run(guestFile('ud2', [0x0f, 0x0b]))).stderr).toMatch(/triple fault\n {2}vcpu 0: rip 0000000000400000 /)
  })

  it('stops a guest that loops for ever after --max-instructions, with its state', async () => {
    const ran = await run(guestFile('loop', LOOP), '--max-instructions', '10_001')
    expect(ran.status).toBe(125)
    expect(ran.stderr).toMatch(
      /^worldswitch: stopped after 10001 instructions \(--max-instructions\)\n {2}vcpu 0: rip 0000000000400002 /,
    )
    expect(ran.stderr).toMatch(/rbx 0000000000001389/)
  })

  it.each([
    // mov $0xe9, %dx; out %al, %dx; 1: jmp 1b
    ['loops', [0x66, 0xba, 0xe9, 0, 0xee, 0xeb, 0xfe]],
    ['prints', PRINTS],
  ])('stops a guest that %s for ever soon after Ctrl-C, with its state', async (name, code) => {
    let interruptedAt = 0
    const interrupt = (child: ChildProcess) => {
      interruptedAt = performance.now()
      child.kill('SIGINT')
    }
    const ran = await worldswitch(['run', guestFile(name, code)], {
      watch: (child) => child.stdout!.once('data', () => setTimeout(interrupt, 200, child)),
    })
    // It takes less than half a second; the machine that runs the tests may be busy with others.
    expect(performance.now() - interruptedAt).toBeLessThan(2000)
    expect(ran.status).toBe(125)
    expect(ran.stderr).toMatch(/^worldswitch: interrupted after \d+ instructions\n {2}vcpu 0: rip /)
  })

  it('names an instruction that the model does not have, with --trace and at the end', async () => {
    // sha1nexte %xmm0, %xmm0 is not on Skylake-Server: #UD, and without IDT a triple fault
    const ran = await run(guestFile('sha', [0x0f, 0x38, 0xc8, 0xc0]), '--cpu', 'Skylake-Server', '--trace')
    expect(ran.status).toBe(125)
    expect(ran.stderr).toMatch(/unsupported_instruction: mnemonic=Sha1nexte bytes=0f38c8c0 .*models=.*Icelake-Server/i)
    expect(ran.stderr).toMatch(/\nworldswitch: not modelled: instruction sha1nexte .*not on this CPU model/i)
  })

  it('ends when nobody reads what the guest prints', async () => {
    const ran = await worldswitch(['run', guestFile('prints', PRINTS)], {
      watch: (child) => child.stdout!.once('data', () => child.stdout!.destroy()),
    })
    expect(ran).toMatchObject({ status: 141, stderr: '' })
  })

  it('is the same twice, cold and hot, with optimizations off', async () => {
    const engine = (switches: string) => run(EXAMPLE, '--max-instructions', '900000', '--engine', switches)
    const plain = await run(EXAMPLE, '--max-instructions', '900000')
    for (const switches of ['no-tiers', 'no-jumpCache', 'regionLimit=1']) {
      expect(await engine(switches), switches).toMatchObject({ stdout: plain.stdout, stderr: plain.stderr, status: 125 })
    }
  })
})

describe('worldswitch run, used wrongly', () => {
  it.each<[string[], number, RegExp]>([
    [['/no/such/guest'], 127, /\/no\/such\/guest: no such file/],
    [['--restore', '/no/such/state'], 127, /\/no\/such\/state: no such file/],
    [['/tmp'], 126, /\/tmp: is a directory/],
    [['/dev/zero'], 126, /\/dev\/zero: is not a regular file/],
    [['package.json'], 126, /package\.json: not an ELF file/],
    [['--restore', 'package.json'], 126, /package\.json: not a saved guest/],
    [['--restore', EXAMPLE], 126, /amx-migrate\.elf: not a saved guest/],
    [[], 2, /neither GUEST nor --restore/],
    [[EXAMPLE, '--restore', 'x'], 2, /give GUEST or --restore/],
    [[EXAMPLE, '--cpu', 'SaphireRapids'], 2, /unknown CPU model 'SaphireRapids' \(--cpu\).*did you mean SapphireRapids/],
    [[EXAMPLE, '--migrate-to', 'GraniteRapid'], 2, /unknown CPU model 'GraniteRapid' \(--migrate-to\).*GraniteRapids/],
    [[EXAMPLE, '--kernel', 'linux-6.21'], 2, /unknown kernel profile/],
    [[EXAMPLE, '--memory', '1M'], 2, /--memory.*2M to 1G/],
    [[EXAMPLE, '--memory', 'much'], 2, /--memory.*such as 32M/],
    [[EXAMPLE, '--max-instructions', '0'], 2, /--max-instructions.*above 0/],
    [[EXAMPLE, '--trace-format', 'xml'], 2, /--trace-format.*text, json/],
    [[EXAMPLE, '--engine', 'no-sense'], 2, /unknown engine switch/],
    [[EXAMPLE, '--save', '/no/such/folder/file'], 125, /\/no\/such\/folder\/file: cannot be written/],
  ])('%j: one line', async (args, status, words) => {
    const ran = await run(...args)
    expectOneLine({ ...ran, stdout: '' }, status, words)
  })

  it('a guest that does not fit its memory', async () => {
    expectOneLine(
      await run(guestFile('small', LOOP), '--memory', '2M'),
      126,
      /small: the segment at 0x400000 .* ends beyond the guest's memory/,
    )
  })

  it('shows an example before the options in its help', async () => {
    const { status, stdout } = await run('--help')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^Example: worldswitch run examples\/amx-migrate/)
  })
})
