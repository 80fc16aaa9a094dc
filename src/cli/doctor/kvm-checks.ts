import { type CpuidFeature, features as cpuidFeatures, runtimeFeatures } from '../../isa/cpuid-features.ts'
import { errnoName } from '../../linux/errno.ts'
import type { Check, Surroundings } from './check.ts'
import { maskText } from './checks.ts'
import type { ProbeFacts } from './facts.ts'

/** /dev/kvm, step by step: that it is there says nothing yet. */

const KVM_API_VERSION = 12
const KVM_EXIT_HLT = 5

/** Why an open is refused, and what to do about it. */
const OPEN_REFUSED: Readonly<Record<string, { readonly means: string; readonly todo: string }>> = {
  ENOENT: {
    means: 'the kvm module is not loaded, or this container does not have the device',
    todo: 'modprobe kvm_intel (or kvm_amd); in a container: --device /dev/kvm',
  },
  EACCES: {
    means: 'it is there, and you may not open it',
    todo: 'join its group, and log in again: sudo usermod -aG kvm "$USER"; or, for now: sudo setfacl -m "u:$USER:rw" /dev/kvm',
  },
  EPERM: { means: 'it is there, and the container may not open devices', todo: 'start the container with --device /dev/kvm' },
  ENXIO: {
    means: 'the device node has no driver behind it',
    todo: 'modprobe kvm_intel (or kvm_amd), and see dmesg for its reason',
  },
  ENODEV: {
    means: 'the driver does not run here: virtualization is off or missing',
    todo: 'in a virtual machine: switch nested virtualization on; else look for VT-x or SVM in the firmware setup',
  },
  EBUSY: { means: 'another hypervisor holds the processor', todo: 'stop the other hypervisor (VirtualBox, VMware)' },
}

const CREATE_REFUSED: Readonly<Record<string, string>> = {
  EBUSY: 'another hypervisor holds the processor',
  ENOMEM: 'there is not enough memory',
  EIO: 'virtualization could not be switched on: the firmware has locked it off',
  ENOTTY: 'this /dev/kvm makes no virtual machines: it is there for something else',
  EPERM: 'a filter of system calls forbids it',
}

export function kvmChecks(facts: ProbeFacts, around: Surroundings): Check[] {
  return [exists(facts, around), opens(facts), ...steps(facts), components(facts), features(facts), stateSize(facts)]
}

const unasked = (name: string, title: string): Check => ({
  name,
  title,
  verdict: 'unknown',
  value: 'unknown',
  means: 'an earlier step failed: it could not be asked',
  todo: '',
})

function exists({ open }: ProbeFacts, { kvmNode }: Surroundings): Check {
  const there = kvmNode ?? (open === null ? null : errnoName(-open) !== 'ENOENT')
  if (there === null) return unasked('kvm-exists', '/dev/kvm exists')
  return {
    name: 'kvm-exists',
    title: '/dev/kvm exists',
    verdict: there ? 'ok' : 'no',
    value: there ? 'yes' : 'no',
    means: there ? 'that alone says little: see the next lines' : OPEN_REFUSED['ENOENT'].means,
    todo: there ? '' : OPEN_REFUSED['ENOENT'].todo,
  }
}

function opens({ open }: ProbeFacts): Check {
  if (open === null) return unasked('kvm-opens', '/dev/kvm opens')
  const errno = open < 0 ? errnoName(-open) : ''
  return {
    name: 'kvm-opens',
    title: '/dev/kvm opens',
    verdict: open < 0 ? 'no' : 'ok',
    value: open < 0 ? errno : 'yes',
    means: open < 0 ? (OPEN_REFUSED[errno]?.means ?? 'the open was refused') : 'this user may use it',
    todo: OPEN_REFUSED[errno]?.todo ?? '',
  }
}

/** API version, VM, vCPU, and a guest that halts. */
function steps({ ioctl, guestExit }: ProbeFacts): Check[] {
  const version = ioctl.get('KVM_GET_API_VERSION')
  const run = ioctl.get('KVM_RUN')
  return [
    step('kvm-answers', '/dev/kvm answers', version, (value) => value === KVM_API_VERSION, {
      value: `KVM_GET_API_VERSION = ${version}`,
      ok: 'it is KVM',
      no: 'it opens and is not the KVM that every VMM expects (12)',
    }),
    step('kvm-creates-vm', 'creates a VM', ioctl.get('KVM_CREATE_VM'), (value) => value >= 0, {
      value: 'KVM_CREATE_VM works',
      ok: 'virtual machines can be made',
      no: 'it opens and answers, and makes no VM',
    }),
    step('kvm-creates-vcpu', 'creates a vCPU', ioctl.get('KVM_CREATE_VCPU'), (value) => value >= 0, {
      value: 'KVM_CREATE_VCPU works',
      ok: 'guest permissions of the probe are locked from here on',
      no: 'it makes a VM without processors',
    }),
    step('kvm-runs-guest', 'runs a guest', run, () => guestExit === KVM_EXIT_HLT, {
      value: `KVM_RUN = ${run}, exit reason ${guestExit ?? 'none'}`,
      ok: 'a guest of one HLT ran and halted',
      no: 'everything can be set up, and no guest runs',
    }),
  ]
}

function step(
  name: string,
  title: string,
  result: number | undefined,
  accept: (value: number) => boolean,
  say: { value: string; ok: string; no: string },
): Check {
  if (result === undefined) return unasked(name, title)
  const errno = result < 0 ? errnoName(-result) : ''
  const ok = result >= 0 && accept(result)
  return {
    name,
    title,
    verdict: ok ? 'ok' : 'no',
    value: errno === '' ? say.value : errno,
    means: ok ? say.ok : (CREATE_REFUSED[errno] ?? say.no),
    todo: ok ? '' : "see dmesg for the kernel's reason",
  }
}

function components({ guestComponents, supportedCpuid }: ProbeFacts): Check {
  const leafD = supportedCpuid.get('d.0')
  if (guestComponents === null && leafD === undefined) return unasked('guest-components', 'state components of guests')
  const possible =
    guestComponents === null || guestComponents.result < 0
      ? 'the kernel does not say what more permissions would bring (KVM_X86_XCOMP_GUEST_SUPP came with 5.17)'
      : `with every permission: ${maskText(guestComponents.value)}`
  return {
    name: 'guest-components',
    title: 'state components of guests',
    verdict: leafD === undefined ? 'unknown' : 'ok',
    value: leafD === undefined ? 'unknown' : maskText(BigInt(leafD.eax)),
    means: `CPUID.(0DH,0) that KVM_GET_SUPPORTED_CPUID gave the probe; ${possible}`,
    todo: '',
  }
}

/** Named bits of the leaves that the probe asked of both. */
function features({ cpuid, supportedCpuid }: ProbeFacts): Check {
  if (supportedCpuid.size === 0) return unasked('guest-features', 'CPUID of guests')
  const has = (table: ProbeFacts['cpuid'], { leaf, subleaf, register, bit }: CpuidFeature): boolean | null => {
    const entry = table.get(`${leaf.toString(16)}.${subleaf.toString(16)}`)
    return entry === undefined ? null : ((entry[register] >>> bit) & 1) === 1
  }
  const both = [...cpuidFeatures.values()].flatMap((feature) => {
    if (feature.kind !== 'cpuid' || runtimeFeatures.has(feature.name)) return []
    const [here, guest] = [has(cpuid, feature), has(supportedCpuid, feature)]
    return here === null || guest === null ? [] : [{ name: feature.name, here, guest }]
  })
  const offered = both.filter(({ guest }) => guest)
  const withheld = both.filter(({ here, guest }) => here && !guest).map(({ name }) => name)
  return {
    name: 'guest-features',
    title: 'CPUID of guests',
    verdict: 'ok',
    value: `${offered.length} features of leaves 1, 7 and 0DH`,
    means:
      withheld.length === 0 ? 'all that the processor has' : `the processor has, and guests cannot have: ${withheld.join(' ')}`,
    todo: '',
  }
}

function stateSize({ xsave2 }: ProbeFacts): Check {
  if (xsave2 === null) return unasked('guest-state-size', 'KVM_GET_XSAVE2')
  return {
    name: 'guest-state-size',
    title: 'KVM_GET_XSAVE2',
    verdict: xsave2 > 0 ? 'ok' : 'no',
    value: xsave2 > 0 ? `${xsave2} bytes` : `KVM_CAP_XSAVE2 = ${xsave2}`,
    means:
      xsave2 > 0
        ? 'a saved vCPU has that many bytes of extended state'
        : 'only KVM_GET_XSAVE with its 4096 bytes exists (before 5.17)',
    todo: '',
  }
}
