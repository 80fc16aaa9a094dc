import { errnoName } from '../../linux/errno.ts'
import { componentNames, type Gate, gateOf } from '../../linux/refusal.ts'
import { listKernelProfiles } from '../../profiles/index.ts'
import type { Check, Surroundings } from './check.ts'
import type { CpuidFact, ProbeFacts } from './facts.ts'
import { kvmChecks } from './kvm-checks.ts'

/** What the answers of the probe mean. Nothing here asks anything: the same facts give the same checks. */

const XTILE = 0x60000n
const XTILE_DATA = 1n << 18n

/** Bits of CPUID leaves that matter here: SDM Vol. 2A CPUID, APM Vol. 3 App. E. */
const VMX = 1 << 5
const SVM = 1 << 2
const AMX_TILE = 1 << 24
const XFD = 1 << 4

const bit = (fact: CpuidFact | undefined, register: keyof CpuidFact, mask: number): boolean =>
  fact !== undefined && (fact[register] & mask) !== 0

export const maskText = (mask: bigint): string => `0x${mask.toString(16)} (${componentNames(mask).join(' ')})`

export function checksOf(facts: ProbeFacts, around: Surroundings): Check[] {
  return [
    ...(around.node === null ? [] : [nodeCheck(around.node), platformCheck(around.node)]),
    ...(around.probeFailure === null ? [] : [probeCheck(around.probeFailure)]),
    kernelCheck(facts),
    processorCheck(facts),
    amxCheck(facts, around),
    supportedComponents(facts),
    permissionCheck(facts, 'ARCH_REQ_XCOMP_PERM', 'amx-permission', 'permission to use AMX', 'a program that asks may use tiles'),
    permissionCheck(
      facts,
      'ARCH_REQ_XCOMP_GUEST_PERM',
      'amx-guest-permission',
      'permission to give AMX to guests',
      'a VMM that asks before its first vCPU may give tiles to guests',
    ),
    ...kvmChecks(facts, around),
    guestAmxCheck(facts),
  ]
}

function nodeCheck({ version }: NonNullable<Surroundings['node']>): Check {
  const major = Number(/^v(\d+)/.exec(version)?.[1] ?? 0)
  const ok = major >= 20
  return {
    name: 'node',
    title: 'Node',
    verdict: ok ? 'ok' : 'no',
    value: version,
    means: ok ? 'worldswitch runs' : 'worldswitch needs the WebAssembly of Node 20 or newer',
    todo: ok ? '' : 'install Node 20 or newer',
  }
}

function platformCheck({ platform, arch }: NonNullable<Surroundings['node']>): Check {
  const native = platform === 'linux' && arch === 'x64'
  return {
    name: 'platform',
    title: 'platform',
    verdict: native ? 'ok' : 'no',
    value: `${platform} ${arch}`,
    means: native
      ? 'the probe can ask this kernel itself'
      : 'there is no /dev/kvm for x86-64 guests here, and the probe is an x86-64 Linux program: nothing below could be asked',
    todo: native ? '' : 'modelled hosts work everywhere: worldswitch doctor --cpu SapphireRapids --kernel linux-6.12',
  }
}

function probeCheck(failure: string): Check {
  return {
    name: 'probe',
    title: 'probe',
    verdict: 'unknown',
    value: failure,
    means: 'what the probe did not get to ask is unknown below',
    todo: '',
  }
}

/** The profile of the newest release that is not newer than this one. */
export function nearestProfile(release: string): string | null {
  const version = (text: string): number => {
    const match = /^(\d+)\.(\d+)/.exec(text)
    return match === null ? -1 : Number(match[1]) * 1000 + Number(match[2])
  }
  const wanted = version(release)
  if (wanted < 0) return null
  const releases = listKernelProfiles()
    .filter(({ name }) => /^linux-\d+\.\d+$/.test(name))
    .map(({ name }) => ({ name, version: version(name.slice('linux-'.length)) }))
    .toSorted((a, b) => a.version - b.version)
  return (releases.findLast((each) => each.version <= wanted) ?? releases[0])?.name ?? null
}

function kernelCheck({ release }: ProbeFacts): Check {
  const profile = release === null ? null : nearestProfile(release)
  const known = release !== null && profile !== null
  return {
    name: 'kernel',
    title: 'kernel',
    verdict: known ? 'ok' : 'unknown',
    value: release ?? 'unknown',
    means: known ? `the nearest profile is ${profile}` : 'no profile can be named',
    todo: known ? `compare: worldswitch doctor --kernel ${profile}` : '',
  }
}

function processorCheck({ brand, cpuid, guestExit }: ProbeFacts): Check {
  const asked = cpuid.has('1.0')
  const vmx = bit(cpuid.get('1.0'), 'ecx', VMX)
  const svm = bit(cpuid.get('80000001.0'), 'ecx', SVM)
  const virtual = vmx || svm
  const runs = guestExit !== null
  return {
    name: 'virtualization',
    title: 'virtualization in CPUID',
    verdict: !asked ? 'unknown' : virtual ? 'ok' : 'no',
    value: `${brand ?? 'unknown processor'}: ${vmx ? 'VMX' : svm ? 'SVM' : 'neither VMX nor SVM'}`,
    means: !asked
      ? 'CPUID could not be asked'
      : virtual
        ? 'the processor can run guests'
        : runs
          ? 'guests run nevertheless (see below): this kernel has another way'
          : 'a /dev/kvm that is there nevertheless may not work: see below',
    todo:
      !asked || virtual || runs
        ? ''
        : 'in a virtual machine: switch nested virtualization on; else look for VT-x or SVM in the firmware setup',
  }
}

function amxCheck({ cpuid, xcr0 }: ProbeFacts, { cpuinfoFlags }: Surroundings): Check {
  const asked = cpuid.has('7.0')
  const inCpuid = bit(cpuid.get('7.0'), 'edx', AMX_TILE)
  const enabled = xcr0 !== null && (xcr0 & XTILE) === XTILE
  const flags = cpuinfoFlags === null ? '' : `, /proc/cpuinfo ${cpuinfoFlags.includes('amx_tile') ? 'has' : 'has no'} amx_tile`
  return {
    name: 'amx',
    title: 'AMX',
    verdict: !asked ? 'unknown' : inCpuid && enabled ? 'ok' : 'no',
    value: asked
      ? `CPUID ${inCpuid ? 'has' : 'has no'} AMX-TILE, XCR0 ${xcr0 === null ? 'unknown' : `= ${maskText(xcr0)}`}${flags}`
      : 'unknown',
    means: !asked
      ? 'CPUID could not be asked'
      : inCpuid && enabled
        ? 'the processor has tiles, and the kernel enabled them'
        : inCpuid
          ? 'the processor has tiles, and the kernel did not enable them'
          : 'this processor has no tiles',
    todo: inCpuid && !enabled ? 'AMX needs Linux 5.16 or newer, without clearcpuid= and noxsave' : '',
  }
}

function supportedComponents({ archPrctl }: ProbeFacts): Check {
  const supp = archPrctl.get('ARCH_GET_XCOMP_SUPP')
  const ok = supp?.result === 0
  const [perm, guest] = ['ARCH_GET_XCOMP_PERM', 'ARCH_GET_XCOMP_GUEST_PERM'].map((option) => {
    const got = archPrctl.get(option)
    return got === undefined ? 'unknown' : got.result < 0 ? errnoName(-got.result) : maskText(got.value)
  })
  return {
    name: 'components',
    title: 'state components',
    verdict: supp === undefined ? 'unknown' : ok ? 'ok' : 'no',
    value: supp === undefined ? 'unknown' : ok ? maskText(supp.value) : errnoName(-supp.result),
    means: ok
      ? `what programs can ask for; without asking: ${perm}, for guests: ${guest}`
      : supp === undefined
        ? 'arch_prctl could not be asked'
        : 'the kernel knows no permissions (they came with Linux 5.16)',
    todo: '',
  }
}

/** Why a request of permission was refused (PERM-17, -23, -28). */
const PERMISSION_REFUSED: Readonly<Record<string, string>> = {
  EINVAL: 'the kernel knows no such permission (host: Linux 5.16, guests: 5.17)',
  EOPNOTSUPP: 'the processor or the kernel has no XTILE_DATA',
  ENOSPC: 'an alternate signal stack is too small for a frame with tiles',
  EBUSY: 'the process has created a vCPU already',
  EPERM: 'it is forbidden, by a filter of system calls most likely',
}

function permissionCheck({ archPrctl }: ProbeFacts, option: string, name: string, title: string, granted: string): Check {
  const got = archPrctl.get(option)
  const errno = got === undefined || got.result === 0 ? '' : errnoName(-got.result)
  return {
    name,
    title,
    verdict: got === undefined ? 'unknown' : errno === '' ? 'ok' : 'no',
    value: got === undefined ? 'unknown' : errno === '' ? `${option}(XTILE_DATA) = 0` : `${option}(XTILE_DATA) = ${errno}`,
    means:
      got === undefined ? 'arch_prctl could not be asked' : errno === '' ? granted : (PERMISSION_REFUSED[errno] ?? 'refused'),
    todo: '',
  }
}

/** The gates between a guest and tiles, in the order in which a VMM meets them. */
function guestAmxCheck(facts: ProbeFacts): Check {
  const { cpuid, xcr0, archPrctl, guestComponents, supportedCpuid } = facts
  const chain: Gate[] = []
  const consult = (gate: Gate['gate'], what: string, value: bigint | null, ok: boolean): boolean => {
    if (value !== null) chain.push(gateOf(ok)(gate, what, value))
    return value !== null && ok
  }
  const leaf7 = cpuid.get('7.0')
  const leafD = supportedCpuid.get('d.0')
  const guestPerm = archPrctl.get('ARCH_REQ_XCOMP_GUEST_PERM')
  const components = guestComponents?.result === 0 ? guestComponents.value : null
  const all =
    consult(
      'CPUID bit',
      'AMX-TILE',
      leaf7 === undefined ? null : BigInt(bit(leaf7, 'edx', AMX_TILE)),
      bit(leaf7, 'edx', AMX_TILE),
    ) &&
    consult(
      'CPUID bit',
      'XFD',
      cpuid.has('d.1') ? BigInt(bit(cpuid.get('d.1'), 'eax', XFD)) : null,
      bit(cpuid.get('d.1'), 'eax', XFD),
    ) &&
    consult('XCR0', 'XCR0 of the host', xcr0, ((xcr0 ?? 0n) & XTILE) === XTILE) &&
    consult(
      'permission',
      'ARCH_REQ_XCOMP_GUEST_PERM granted',
      guestPerm === undefined ? null : BigInt(guestPerm.result === 0),
      guestPerm?.result === 0,
    ) &&
    consult('host KVM', 'KVM_X86_XCOMP_GUEST_SUPP', components, ((components ?? 0n) & XTILE_DATA) !== 0n) &&
    consult(
      'guest CPUID',
      'CPUID.(0DH,0).EAX of KVM_GET_SUPPORTED_CPUID',
      leafD === undefined ? null : BigInt(leafD.eax),
      ((leafD?.eax ?? 0) & 0x40000) !== 0,
    )
  const stopped = chain.find((gate) => gate.verdict === 'refused')
  return {
    name: 'guest-amx',
    title: 'AMX for a guest',
    verdict: all ? 'ok' : stopped === undefined ? 'unknown' : 'no',
    value: all
      ? 'a guest can have tiles'
      : stopped === undefined
        ? 'unknown'
        : `stopped by ${stopped.gate}: ${stopped.what} = 0x${stopped.value.toString(16)}`,
    means: all
      ? 'every gate lets it through'
      : stopped === undefined
        ? 'not every gate could be asked'
        : 'what comes after that gate was not needed',
    todo: '',
    chain,
  }
}
