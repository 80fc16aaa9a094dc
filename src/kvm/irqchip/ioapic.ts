import type { Vm } from '../vm.ts'
import { deliverToApics } from './delivery.ts'

export const IOAPIC_DEFAULT_BASE = 0xfec00000
export const IOAPIC_PINS = 24
const IOAPIC_VERSION_ID = 0x11

/** Low-half bits of a redirection entry (82093AA data sheet, 3.2.4). */
const REDIR_DELIVERY_STATUS = 1 << 12
const REDIR_REMOTE_IRR = 1 << 14
const REDIR_LEVEL = 1 << 15
const REDIR_MASKED = 1 << 16
const REDIR_LOGICAL = 1 << 11

/** The in-kernel I/O APIC. KAPI-60; Linux 6.12 arch/x86/kvm/ioapic.c. */
export class Ioapic {
  private readonly vm: Vm
  base = IOAPIC_DEFAULT_BASE
  select = 0
  id = 0
  /** Asserted lines. */
  irr = 0
  readonly lo = new Uint32Array(IOAPIC_PINS)
  readonly hi = new Uint32Array(IOAPIC_PINS)

  constructor(vm: Vm) {
    this.vm = vm
    this.lo.fill(REDIR_MASKED)
  }

  /** A line changed. @returns > 0 delivered, 0 coalesced, -1 nobody took it (KVM_IRQ_LINE_STATUS). */
  setLine(pin: number, level: boolean): number {
    const mask = 1 << pin
    if (!level) {
      this.irr &= ~mask
      return 1
    }
    const wasSet = (this.irr & mask) !== 0
    this.irr |= mask
    const isLevel = (this.lo[pin] & REDIR_LEVEL) !== 0
    if (!isLevel && wasSet) return 0
    return this.service(pin)
  }

  private service(pin: number): number {
    const entry = this.lo[pin]
    const isLevel = (entry & REDIR_LEVEL) !== 0
    if (entry & REDIR_MASKED || (isLevel && entry & REDIR_REMOTE_IRR)) return -1
    const delivered = deliverToApics(this.vm, null, {
      vector: entry & 0xff,
      deliveryMode: entry & 0x700,
      logical: (entry & REDIR_LOGICAL) !== 0,
      level: true,
      levelTriggered: isLevel,
      shorthand: 0,
      destination: this.hi[pin] >>> 24,
    })
    if (delivered > 0 && isLevel) this.lo[pin] |= REDIR_REMOTE_IRR
    return delivered
  }

  /** A local APIC finished `vector`. Level-triggered lines that are still up are delivered again. */
  endOfInterrupt(vector: number, levelTriggered: boolean): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      if ((this.lo[pin] & 0xff) !== vector) continue
      this.vm.lineAcknowledged('ioapic', pin)
      if (!levelTriggered || (this.lo[pin] & REDIR_LEVEL) === 0) continue
      this.lo[pin] &= ~REDIR_REMOTE_IRR
      if ((this.lo[pin] & REDIR_MASKED) === 0 && this.irr & (1 << pin)) this.service(pin)
    }
  }

  /** Memory-mapped registers: IOREGSEL at 0, IOWIN at 0x10. */
  read(offset: number): number {
    if (offset === 0) return this.select
    return offset === 0x10 ? this.readIndirect() : 0
  }

  write(offset: number, value: number): void {
    if (offset === 0) this.select = value & 0xff
    else if (offset === 0x10) this.writeIndirect(value >>> 0)
  }

  private readIndirect(): number {
    if (this.select === 1) return ((IOAPIC_PINS - 1) << 16) | IOAPIC_VERSION_ID
    if (this.select === 0 || this.select === 2) return (this.id & 0xf) << 24
    const pin = (this.select - 0x10) >> 1
    if (pin < 0 || pin >= IOAPIC_PINS) return 0xffffffff
    return this.select & 1 ? this.hi[pin] : this.lo[pin]
  }

  private writeIndirect(value: number): void {
    if (this.select === 0) {
      this.id = (value >>> 24) & 0xf
      return
    }
    const pin = (this.select - 0x10) >> 1
    if (this.select < 0x10 || pin >= IOAPIC_PINS) return
    if (this.select & 1) this.hi[pin] = value
    else {
      // Delivery status and remote IRR are read-only; an edge-triggered entry has no remote IRR.
      const readOnly = REDIR_DELIVERY_STATUS | REDIR_REMOTE_IRR
      this.lo[pin] = (value & ~readOnly) | (this.lo[pin] & readOnly)
      if ((this.lo[pin] & REDIR_LEVEL) === 0) this.lo[pin] &= ~REDIR_REMOTE_IRR
    }
    const entry = this.lo[pin]
    const pendingLevel = entry & REDIR_LEVEL && this.irr & (1 << pin) && !(entry & REDIR_MASKED) && !(entry & REDIR_REMOTE_IRR)
    if (pendingLevel) this.service(pin)
  }

  /** KVM_SET_IRQCHIP restored lines: those up and unmasked are delivered again. */
  resume(): void {
    const pending = this.irr
    this.irr = 0
    for (let pin = 0; pin < IOAPIC_PINS; pin++) if (pending & (1 << pin)) this.setLine(pin, true)
  }
}
