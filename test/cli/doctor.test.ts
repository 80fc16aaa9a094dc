import { describe, expect, test } from 'vitest'
import type { Check, Surroundings } from '../../src/cli/doctor/check.ts'
import { checksOf, nearestProfile } from '../../src/cli/doctor/checks.ts'
import { parseFacts } from '../../src/cli/doctor/facts.ts'
import { asText } from '../../src/cli/doctor-command.ts'
import { worldswitch } from './command.ts'

/** What a probe prints on a Sapphire Rapids host with everything allowed, up to KVM. */
const HOST = [
  { fact: 'uname', sysname: 'Linux', release: '6.12.30-cloud', machine: 'x86_64' },
  { fact: 'brand', name: 'Intel(R) Xeon(R) Platinum 8481C' },
  { fact: 'cpuid', leaf: '0x1', subleaf: '0x0', eax: '0x806f8', ebx: '0x0', ecx: '0x7ffefbff', edx: '0xbfebfbff' },
  { fact: 'cpuid', leaf: '0x7', subleaf: '0x0', eax: '0x2', ebx: '0xf1bf27eb', ecx: '0xbb415ffe', edx: '0xffd94410' },
  { fact: 'cpuid', leaf: '0xd', subleaf: '0x1', eax: '0x1f', ebx: '0x0', ecx: '0x0', edx: '0x0' },
  { fact: 'xcr0', value: '0x602e7' },
  { fact: 'arch_prctl', option: 'ARCH_GET_XCOMP_SUPP', result: 0, value: '0x602e7' },
  { fact: 'arch_prctl', option: 'ARCH_GET_XCOMP_PERM', result: 0, value: '0x202e7' },
  { fact: 'arch_prctl', option: 'ARCH_GET_XCOMP_GUEST_PERM', result: 0, value: '0x202e7' },
  { fact: 'arch_prctl', option: 'ARCH_REQ_XCOMP_PERM', component: 18, result: 0 },
  { fact: 'arch_prctl', option: 'ARCH_REQ_XCOMP_GUEST_PERM', component: 18, result: 0 },
]
const open = (result: number) => ({ fact: 'open', path: '/dev/kvm', result })
const ioctl = (name: string, result: number) => ({ fact: 'ioctl', name, result })
const ANSWERS = [
  open(0),
  ioctl('KVM_GET_API_VERSION', 12),
  { fact: 'guest_components', result: 0, value: '0x602e7' },
  ioctl('KVM_GET_SUPPORTED_CPUID', 0),
  { fact: 'supported_cpuid', leaf: '0xd', subleaf: '0x0', eax: '0x602e7', ebx: '0x0', ecx: '0x0', edx: '0x0' },
]
const VM = [
  ioctl('KVM_CREATE_VM', 4),
  { fact: 'capability', name: 'KVM_CAP_XSAVE2', result: 11008 },
  ioctl('KVM_CREATE_VCPU', 5),
  ioctl('KVM_RUN', 0),
  { fact: 'guest_exit', reason: 5 },
]
const END = [{ fact: 'end' }]

const HERE: Surroundings = {
  where: 'this machine',
  modelled: false,
  node: { platform: 'linux', arch: 'x64', version: 'v20.20.2' },
  kvmNode: true,
  cpuinfoFlags: ['fpu', 'amx_tile'],
  probeFailure: null,
}

function diagnose(lines: readonly object[], around: Partial<Surroundings> = {}): Map<string, Check> {
  const output = lines.map((line) => JSON.stringify(line)).join('\n')
  return new Map(checksOf(parseFacts(output), { ...HERE, ...around }).map((check) => [check.name, check]))
}
const verdicts = (checks: Map<string, Check>, ...names: string[]): string[] => names.map((name) => checks.get(name)!.verdict)
const KVM = ['kvm-exists', 'kvm-opens', 'kvm-answers', 'kvm-creates-vm', 'kvm-creates-vcpu', 'kvm-runs-guest']

describe('what the answers of the probe mean', () => {
  test('everything works: every check is ok, and AMX passes every gate', () => {
    const checks = diagnose([...HOST, ...ANSWERS, ...VM, ...END])
    expect([...checks.values()].filter(({ verdict }) => verdict !== 'ok')).toEqual([])
    expect(checks.get('guest-amx')!.chain!.map(({ gate }) => gate)).toEqual([
      'CPUID bit',
      'CPUID bit',
      'XCR0',
      'permission',
      'host KVM',
      'guest CPUID',
    ])
    expect(checks.get('guest-state-size')!.value).toBe('11008 bytes')
    expect(checks.get('kernel')!.means).toContain('linux-6.12')
  })

  test('/dev/kvm exists and may not be opened: says what to do, and asks nothing more', () => {
    const checks = diagnose([...HOST, open(-13), ...END])
    expect(verdicts(checks, ...KVM)).toEqual(['ok', 'no', 'unknown', 'unknown', 'unknown', 'unknown'])
    expect(checks.get('kvm-opens')).toMatchObject({ value: 'EACCES' })
    expect(checks.get('kvm-opens')!.todo).toContain('usermod -aG kvm')
    expect(checks.get('guest-amx')!.verdict).toBe('unknown')
  })

  test('/dev/kvm opens and does not answer as KVM does', () => {
    expect(verdicts(diagnose([...HOST, open(0), ioctl('KVM_GET_API_VERSION', -25), ...END]), ...KVM).slice(0, 4)).toEqual([
      'ok',
      'ok',
      'no',
      'unknown',
    ])
    expect(verdicts(diagnose([...HOST, open(0), ioctl('KVM_GET_API_VERSION', 11), ...END]), 'kvm-answers')).toEqual(['no'])
  })

  test('/dev/kvm answers and makes no VM: existing is not enough', () => {
    const checks = diagnose([...HOST, ...ANSWERS, ioctl('KVM_CREATE_VM', -16), ...END])
    expect(verdicts(checks, ...KVM)).toEqual(['ok', 'ok', 'ok', 'no', 'unknown', 'unknown'])
    expect(checks.get('kvm-creates-vm')).toMatchObject({ value: 'EBUSY', means: 'another hypervisor holds the processor' })
  })

  test('a VM can be made and no guest runs', () => {
    const checks = diagnose([...HOST, ...ANSWERS, ...VM.slice(0, 3), ioctl('KVM_RUN', -5), ...END])
    expect(verdicts(checks, ...KVM)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok', 'no'])
    const failsEntry = diagnose([...HOST, ...ANSWERS, ...VM.slice(0, 4), { fact: 'guest_exit', reason: 9 }, ...END])
    expect(verdicts(failsEntry, 'kvm-runs-guest')).toEqual(['no'])
  })

  test('there is no /dev/kvm', () => {
    const checks = diagnose([...HOST, open(-2), ...END], { kvmNode: false })
    expect(verdicts(checks, 'kvm-exists', 'kvm-opens')).toEqual(['no', 'no'])
    expect(checks.get('kvm-exists')!.todo).toContain('modprobe')
  })

  test('a permission that is refused stops AMX for guests there [PERM-17]', () => {
    const lines = [...HOST.slice(0, -1), { ...HOST.at(-1), result: -95 }, ...ANSWERS, ...VM, ...END]
    const checks = diagnose(lines)
    expect(checks.get('amx-guest-permission')).toMatchObject({
      verdict: 'no',
      value: 'ARCH_REQ_XCOMP_GUEST_PERM(XTILE_DATA) = EOPNOTSUPP',
    })
    expect(checks.get('guest-amx')).toMatchObject({ verdict: 'no' })
    expect(checks.get('guest-amx')!.chain!.at(-1)).toMatchObject({ gate: 'permission', verdict: 'refused' })
  })

  test('another platform: what could not be asked is unknown, and says why', () => {
    const node = { platform: 'darwin', arch: 'arm64', version: 'v22.1.0' }
    const checks = diagnose([], { node, kvmNode: null, cpuinfoFlags: null, probeFailure: 'it is a program for Linux on x86-64' })
    expect(checks.get('platform')!.verdict).toBe('no')
    expect(checks.get('probe')!.value).toContain('Linux on x86-64')
    for (const name of ['kernel', 'virtualization', 'amx', 'components', ...KVM, 'guest-amx'])
      expect([name, checks.get(name)!.verdict]).toEqual([name, 'unknown'])
  })

  test('output that is cut short or spoilt is read as far as it goes', () => {
    const facts = parseFacts('{"fact":"uname","release":"6.1.0"}\n{"fact":"open","resu\nnoise\n{"fact":3}\nnull\n[]\n')
    expect(facts).toMatchObject({ complete: false, release: '6.1.0', open: null })
    expect(parseFacts('{"fact":"xcr0","value":7}').xcr0).toBe(0n)
  })

  test.each([
    ['6.12.30-cloud', 'linux-6.12'],
    ['6.13.0', 'linux-6.12'],
    ['6.18.44-fc', 'linux-6.18'],
    ['7.2.0', 'linux-6.18'],
    ['5.10.0', 'linux-5.15'],
    ['5.16.3', 'linux-5.16'],
    ['strange', null],
  ])('the profile nearest to kernel %s is %s', (release, profile) => {
    expect(nearestProfile(release)).toBe(profile)
  })

  test('text for people holds no control characters of what was found', () => {
    const printed = asText(HERE, [...diagnose([{ fact: 'uname', release: '6.1\u001b[31m', machine: 'x' }]).values()])
    expect(printed).not.toContain('\u001b')
  })
})

interface Printed {
  host: string
  modelled: boolean
  checks: { name: string; verdict: string; value: string; chain?: { gate: string; value: string }[] }[]
}
async function doctor(...options: string[]): Promise<Map<string, Printed['checks'][number]>> {
  const ran = await worldswitch(['doctor', '--json', ...options])
  expect(ran).toMatchObject({ status: 0, stderr: '' })
  const printed = JSON.parse(ran.stdout) as Printed
  return new Map(printed.checks.map((check) => [check.name, check]))
}

describe('worldswitch doctor', () => {
  test('of a modelled host: the probe runs there, and a guest can have AMX [PERM-20, XSAVE-01, XSAVE-02]', async () => {
    const checks = await doctor('--cpu', 'SapphireRapids', '--kernel', 'linux-6.12')
    expect([...checks.values()].filter(({ verdict }) => verdict !== 'ok')).toEqual([])
    expect(checks.get('guest-state-size')!.value).toBe('11008 bytes')
    expect(checks.get('guest-amx')!.chain!.map(({ value }) => value)).toEqual([
      '0x1',
      '0x1',
      '0x602e7',
      '0x1',
      '0x602e7',
      '0x602e7',
    ])
  })

  test('of a modelled kernel before AMX: XCR0 is the gate that stops it', async () => {
    const checks = await doctor('--kernel', 'linux-5.15')
    expect(checks.get('kvm-runs-guest')!.verdict).toBe('ok')
    expect(checks.get('guest-amx')).toMatchObject({ verdict: 'no' })
    expect(checks.get('guest-amx')!.chain!.at(-1)!.gate).toBe('XCR0')
  })

  test('of this machine: whatever it is, each check has a verdict, and the exit status is 0', async () => {
    const checks = await doctor()
    const native = process.platform === 'linux' && process.arch === 'x64'
    expect(checks.get('platform')!.verdict).toBe(native ? 'ok' : 'no')
    for (const { verdict } of checks.values()) expect(['ok', 'no', 'unknown']).toContain(verdict)
    // The probe asked this very kernel.
    if (native) expect(checks.get('kernel')!.value).toMatch(/^\d+\.\d+/)
  })

  test('a model that does not exist is one line and exit status 2', async () => {
    const ran = await worldswitch(['doctor', '--cpu', 'Nonsense'])
    expect(ran.status).toBe(2)
    expect(ran.stderr).toMatch(/^worldswitch: unknown CPU model 'Nonsense'.*\n$/)
  })
})
