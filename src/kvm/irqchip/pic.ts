import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_pic_state } from '../abi/structs.ts'

type PicState = ValueOf<typeof kvm_pic_state>

/** One 8259A. State names are those of struct kvm_pic_state. */
class Pic8259 {
  state: PicState
  private readonly elcrMask: number

  constructor(elcrMask: number) {
    this.elcrMask = elcrMask
    this.state = this.initial()
  }

  private initial(): PicState {
    return {
      last_irr: 0,
      irr: 0,
      imr: 0,
      isr: 0,
      priority_add: 0,
      irq_base: 0,
      read_reg_select: 0,
      poll: 0,
      special_mask: 0,
      init_state: 0,
      auto_eoi: 0,
      rotate_on_auto_eoi: 0,
      special_fully_nested_mode: 0,
      init4: 0,
      elcr: 0,
      elcr_mask: this.elcrMask,
    }
  }

  /** Input line `irq`: level- or edge-triggered after ELCR. False = an edge that was already pending. */
  setLine(irq: number, level: boolean): boolean {
    const s = this.state
    const mask = 1 << irq
    if (s.elcr & mask) {
      if (level) {
        const fresh = (s.irr & mask) === 0
        s.irr |= mask
        s.last_irr |= mask
        return fresh
      }
      s.irr &= ~mask
      s.last_irr &= ~mask
      return true
    }
    if (!level) {
      s.last_irr &= ~mask
      return true
    }
    let fresh = true
    if ((s.last_irr & mask) === 0) {
      fresh = (s.irr & mask) === 0
      s.irr |= mask
    }
    s.last_irr |= mask
    return fresh
  }

  /** 0..7 by current rotation, 8 = none. */
  private priority(mask: number): number {
    if (mask === 0) return 8
    let priority = 0
    while ((mask & (1 << ((priority + this.state.priority_add) & 7))) === 0) priority++
    return priority
  }

  /** The request that may interrupt now, -1 if none. `master` excludes the cascade in special fully nested mode. */
  request(isMaster: boolean): number {
    const s = this.state
    const requested = this.priority(s.irr & ~s.imr)
    if (requested === 8) return -1
    let inService = s.isr
    if (isMaster && s.special_fully_nested_mode) inService &= ~(1 << 2)
    return requested < this.priority(inService) ? (requested + s.priority_add) & 7 : -1
  }

  acknowledge(irq: number): void {
    const s = this.state
    s.isr |= 1 << irq
    if ((s.elcr & (1 << irq)) === 0) s.irr &= ~(1 << irq)
    if (s.auto_eoi) {
      if (s.rotate_on_auto_eoi) s.priority_add = (irq + 1) & 7
      s.isr &= ~(1 << irq)
    }
  }

  writeCommand(value: number): void {
    const s = this.state
    if (value & 0x10) {
      const { elcr } = s
      this.state = { ...this.initial(), elcr, init_state: 1, init4: value & 1 }
    } else if (value & 8) {
      if (value & 4) s.poll = 1
      if (value & 2) s.read_reg_select = value & 1
      if (value & 0x40) s.special_mask = (value >> 5) & 1
    } else this.endOfInterrupt(value >> 5, value & 7)
  }

  private endOfInterrupt(command: number, level: number): void {
    const s = this.state
    switch (command) {
      case 0:
      case 4:
        s.rotate_on_auto_eoi = command >> 2
        break
      case 1:
      case 5: {
        const priority = this.priority(s.isr)
        if (priority === 8) break
        const irq = (priority + s.priority_add) & 7
        if (command === 5) s.priority_add = (irq + 1) & 7
        s.isr &= ~(1 << irq)
        break
      }
      case 3:
        s.isr &= ~(1 << level)
        break
      case 6:
        s.priority_add = (level + 1) & 7
        break
      case 7:
        s.isr &= ~(1 << level)
        s.priority_add = (level + 1) & 7
        break
    }
  }

  writeData(value: number): void {
    const s = this.state
    switch (s.init_state) {
      case 0:
        s.imr = value
        break
      case 1:
        s.irq_base = value & 0xf8
        s.init_state = 2
        break
      case 2:
        s.init_state = s.init4 ? 3 : 0
        break
      case 3:
        s.special_fully_nested_mode = (value >> 4) & 1
        s.auto_eoi = (value >> 1) & 1
        s.init_state = 0
        break
    }
  }

  read(data: boolean, isMaster: boolean): number {
    const s = this.state
    if (s.poll) {
      s.poll = 0
      const irq = this.request(isMaster)
      if (irq < 0) return 7
      this.acknowledge(irq)
      return irq | 0x80
    }
    if (data) return s.imr
    return s.read_reg_select ? s.isr : s.irr
  }
}

/** The two cascaded 8259s at ports 20/21, A0/A1, with ELCR at 4D0/4D1. KAPI-60, KAPI-31. */
export class Pic {
  readonly master = new Pic8259(0xf8)
  readonly slave = new Pic8259(0xde)
  /** INTR of the master. */
  output = false
  /** INTR changed from low to high. */
  onOutput: () => void = () => {}
  /** The guest finished or masked `irq` (0..15). */
  onAcknowledge: (irq: number) => void = () => {}

  setLine(irq: number, level: boolean): number {
    const fresh = irq < 8 ? this.master.setLine(irq, level) : this.slave.setLine(irq - 8, level)
    this.update()
    return fresh ? 1 : 0
  }

  private update(): void {
    const fromSlave = this.slave.request(false) >= 0
    if (fromSlave) {
      this.master.setLine(2, true)
      this.master.setLine(2, false)
    }
    const output = this.master.request(true) >= 0
    const rises = output && !this.output
    this.output = output
    if (rises) this.onOutput()
  }

  /** Interrupt-acknowledge cycle: the vector. A vanished request is the spurious vector 7 (15 on the slave). */
  acknowledge(): number {
    const irq = this.master.request(true)
    let vector: number
    if (irq < 0) vector = this.master.state.irq_base + 7
    else {
      this.master.acknowledge(irq)
      vector = irq === 2 ? this.acknowledgeSlave() : this.master.state.irq_base + irq
    }
    this.update()
    return vector
  }

  private acknowledgeSlave(): number {
    const irq = this.slave.request(false)
    if (irq < 0) return this.slave.state.irq_base + 7
    this.slave.acknowledge(irq)
    return this.slave.state.irq_base + irq
  }

  /** The chip behind a port, or null. */
  private chipAt(port: number): Pic8259 | null {
    if (port === 0x20 || port === 0x21) return this.master
    return port === 0xa0 || port === 0xa1 ? this.slave : null
  }

  /** Byte at a port, -1 if the port is not ours. */
  read(port: number): number {
    if (port === 0x4d0) return this.master.state.elcr
    if (port === 0x4d1) return this.slave.state.elcr
    const chip = this.chipAt(port)
    if (chip === null) return -1
    const value = chip.read((port & 1) === 1, chip === this.master)
    this.update()
    return value
  }

  write(port: number, value: number): boolean {
    if (port === 0x4d0) this.master.state.elcr = value & this.master.state.elcr_mask
    else if (port === 0x4d1) this.slave.state.elcr = value & this.slave.state.elcr_mask
    else if (!this.writeChip(port, value)) return false
    this.update()
    return true
  }

  private writeChip(port: number, value: number): boolean {
    const chip = this.chipAt(port)
    if (chip === null) return false
    const before = chip.state.isr
    if (port & 1) chip.writeData(value)
    else chip.writeCommand(value)
    const finished = before & ~chip.state.isr
    for (let irq = 0; irq < 8; irq++) if (finished & (1 << irq)) this.onAcknowledge(irq + (chip === this.slave ? 8 : 0))
    return true
  }

  /** KVM_SET_IRQCHIP replaced a chip's state. */
  stateReplaced(): void {
    this.output = false
    this.update()
  }
}
